"""A contract checked with Great Expectations, on pandas or Spark, and invariants over time.

In: staged rows and their contract. Out: a `Check` with every broken rule and its rows.
"""

from pipelines.validation.check import Check, Failure, check_rows, check_staged, clean_page
from pipelines.validation.engines import batch_of, new_context, suite
from pipelines.validation.invariants import Counts, broken_invariants, stop_at_stale
from pipelines.validation.spark import session
