"""Is a new model needed? Decided from state, recorded also when it is no.

In: what monitoring saw. Out: a decision in the ledger. `policy` decides, `decision` gathers the state and writes a no down,
`attempts` the training that was started and how it ended.
"""

from pipelines.retraining.attempts import record_failure, record_start
from pipelines.retraining.decision import decide
from pipelines.retraining.policy import RetrainingDecision
