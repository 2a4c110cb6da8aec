"""Rehearse what nobody hopes to need; compute again what was served; sweep away what nobody reads any more.

In: the whole workspace. Out: a checked alias, a drilled rollback, a comparison, swept tables; what does not agree,
and what was missed.
"""

from pipelines.maintenance.doctor import Finding, examine
from pipelines.maintenance.maintenance import alias, drill_rollback, sweep
from pipelines.maintenance.missed import missed
from pipelines.maintenance.skew import Again, Compared, compare, plan_again
