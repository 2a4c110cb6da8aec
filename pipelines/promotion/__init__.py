"""Register, approve, promote, roll back, retire; the record behind each version's card.

In: an evaluation that passed. Out: a champion, named by the ledger.
"""

from pipelines.promotion.approvals import ask, decline_unapproved, promote_approved, take_down
from pipelines.promotion.model_card import load_record
from pipelines.promotion.model_card_record import rehearse
from pipelines.promotion.moves import earlier_champions, promote, retire, rollback
from pipelines.promotion.outcome import keep
from pipelines.promotion.proposal import Proposal, Registered
from pipelines.promotion.question import evidence_text
from pipelines.promotion.registration import refit, refuse_unserved, register
