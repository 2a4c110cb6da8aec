"""Register, approve, promote, roll back; the card of each version.

In: an evaluation that passed. Out: a champion, told by the ledger.
"""

from pipelines.promotion.approvals import ask, decline_unapproved, evidence_text, promote_approved, take_down
from pipelines.promotion.model_card import card
from pipelines.promotion.promotion import Registered, earlier_champions, keep, promote, register, rollback

__all__ = [
    "Registered",
    "ask",
    "card",
    "decline_unapproved",
    "earlier_champions",
    "evidence_text",
    "keep",
    "promote",
    "promote_approved",
    "register",
    "rollback",
    "take_down",
]
