"""Versions that passed their gates, compared on the rows that come, and how much of them each serves.

In: the section `experiment:` or a form's fields, predictions of all variants, labels. Out: rows of the ledger (start, weights
per partition, guards, end), which scoring obeys. Nobody is promoted by it.
"""

from pipelines.experiments.assignment import variants_of
from pipelines.experiments.evidence import Evidence, gather
from pipelines.experiments.figures import Outcome, decimals, in_words, outcomes, planned, unit_of
from pipelines.experiments.measuring import Measured, end, is_any, measure
from pipelines.experiments.opening import open_by_hand, open_declared
from pipelines.experiments.running import (
    KINDS,
    Opened,
    Plan,
    opened,
    plan_of,
    plans,
    record_failure,
    record_slowness,
    taken_out,
)
