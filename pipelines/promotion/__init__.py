"""Register, approve, promote, roll back; the record behind each version's card.

In: an evaluation that passed. Out: a champion, told by the ledger.
"""

from pipelines.promotion.approvals import ask, decline_unapproved, evidence_text, promote_approved, take_down
from pipelines.promotion.model_card import load_record
from pipelines.promotion.promotion import Registered, earlier_champions, keep, promote, register, rollback

__all__ = [
    "Registered",
    "ask",
    "decline_unapproved",
    "earlier_champions",
    "evidence_text",
    "keep",
    "load_record",
    "promote",
    "promote_approved",
    "register",
    "rollback",
    "take_down",
]
