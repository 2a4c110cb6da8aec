"""Land, audit, publish: a source becomes a table; what breaks its contract goes to quarantine, and comes back by replay.

In: a file of the landing zone. Out: one published partition, its quarantine, and what changed in its schema.
`quarantining` decides which rows go to quarantine, by the `contract:` of the use case; `quarantine` shows them,
`replaying` judges them anew.
"""

from pipelines.ingestion.auditing import audit_all
from pipelines.ingestion.landing import land
from pipelines.ingestion.publishing import ingest, publish_all, reconcile
from pipelines.ingestion.quarantine import held, rejected_rows
from pipelines.ingestion.replaying import replay
from pipelines.ingestion.retention import forget_rejected

__all__ = ["audit_all", "forget_rejected", "held", "ingest", "land", "publish_all", "reconcile", "rejected_rows", "replay"]
