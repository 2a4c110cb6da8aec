"""Is a new model needed? Decided from state, recorded also when it is no.

In: what monitoring saw. Out: a decision in the ledger. `policy` decides, `decision` gathers the state and writes it down.
"""

from pipelines.retraining.decision import decide
