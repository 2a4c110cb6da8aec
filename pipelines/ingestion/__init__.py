"""Land, audit, publish: a source becomes a table; what breaks its contract goes to quarantine, and comes back by replay.

In: a file of the landing zone. Out: one published partition, its quarantine, and what changed in its schema.
"""

from pipelines.ingestion.ingestion import audit_all, ingest, land, publish_all, reconcile
from pipelines.ingestion.quarantine import held, rejected_rows, replay

__all__ = ["audit_all", "held", "ingest", "land", "publish_all", "reconcile", "rejected_rows", "replay"]
