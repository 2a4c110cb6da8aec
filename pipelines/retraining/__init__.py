"""Is a new model needed? Decided from state, recorded also when it is no.

In: what monitoring saw, and what a new model would gain. Out: a decision in the ledger. `policy` decides and `brakes` hold up,
`decision` gathers the state and writes a no down, `attempts` the training that was started and how it ended; `resuming` is a
person's.
"""

from pipelines.retraining.attempts import record_failure, record_start
from pipelines.retraining.challenger import estimate
from pipelines.retraining.decision import decide
from pipelines.retraining.gain import Gain
from pipelines.retraining.policy import RetrainingDecision
from pipelines.retraining.resuming import resume
