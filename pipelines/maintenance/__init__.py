"""Rehearse what nobody hopes to need; sweep away what nobody reads any more.

In: the whole workspace. Out: a checked alias, a drilled rollback, swept tables; what does not agree.
"""

from pipelines.maintenance.doctor import Finding, examine
from pipelines.maintenance.maintenance import alias, drill_rollback, sweep
