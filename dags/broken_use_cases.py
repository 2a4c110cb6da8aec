"""Shows use-case files that cannot be read as an airflow DAG import error of their own; the others keep their DAGs."""

from __future__ import annotations

from wiring import BROKEN

from pipelines.errors import PermanentError

if BROKEN:
    raise PermanentError("; ".join(BROKEN.values()))
