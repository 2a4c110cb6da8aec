"""Is a new model needed? Decided from state, recorded also when it is no.

In: what monitoring saw. Out: a decision in the ledger.
"""

from pipelines.retraining.decision import decide

__all__ = ["decide"]
