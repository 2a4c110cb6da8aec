"""Land, audit, publish: a source becomes a table; what breaks its contract goes to quarantine, and comes back by replay.

In: a file of the landing zone. Out: one published partition, its quarantine, and what changed in its schema.
`looking` finds what has arrived; `quarantining` decides which rows go to quarantine, by the `contract:` of the use case;
`quarantine` shows them, `replaying` judges them anew.
"""

from pipelines.ingestion.auditing import audit_all
from pipelines.ingestion.landing import land
from pipelines.ingestion.looking import Feed, Late, late, look
from pipelines.ingestion.publishing import ingest, ingest_all, publish_all, reconcile
from pipelines.ingestion.quarantine import held, rejected_rows
from pipelines.ingestion.replaying import replay
from pipelines.ingestion.retention import forget_rejected
