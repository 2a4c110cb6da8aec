"""Maintenance: rehearse what nobody hopes to need, and sweep away what nobody reads any more."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from pipelines.errors import PermanentError, TransientError
from pipelines.ingestion import forget_rejected
from pipelines.promotion import earlier_champions
from pipelines.scoring import predict
from pipelines.use_case import (
    UseCase,
    features_table,
    labels_table,
    monitoring_table,
    quarantine_table,
    source_table,
    unknown_columns_table,
)
from pipelines.workspace import Workspace, check_alias, feature_rows, list_files, remove_file, restorable

_log = logging.getLogger(__name__)
_PAGE = re.compile(r"/drift/(?P<window>\d[\w-]*)-v\d+\.html$")


@dataclass(frozen=True)
class Drill:
    """A rehearsed rollback: `to` could serve instead of `champion`; None where there is nothing to go back to."""

    champion: int | None
    to: int | None
    partition: str | None
    rows: int
    why: str


@dataclass(frozen=True)
class Swept:
    """Files removed per table: no version within the retention needs them. `skipped` says why others were left alone.

    `pages` of drift were removed, of windows that were measured before it.
    """

    files: dict[str, int]
    skipped: dict[str, str] = field(default_factory=dict)
    pages: int = 0


def alias(workspace: Workspace, use_case: UseCase) -> bool:
    """Whether the champion's alias had been moved; what became of that is in the ledger."""
    return check_alias(workspace, use_case)


def drill_rollback(workspace: Workspace, use_case: UseCase) -> Drill:
    """Do all of a rollback but move the champion: load the one before and score the newest partition with it.

    Raises:
        PermanentError: it does not load or does not score, so a rollback would fail when it is needed.
    """
    now = workspace.ledger.champion(use_case.name)
    earlier = earlier_champions(workspace, use_case, now.version) if now else []
    if now is None or not earlier:
        return Drill(now.version if now else None, None, None, 0, "There is no earlier champion to go back to yet.")
    target = earlier[-1]
    newest = list(workspace.lake.partitions(features_table(use_case)))[-1]
    try:
        model = workspace.registry.load(use_case.name, target)
        rows = feature_rows(workspace, use_case, model, [newest])
        scored = predict(model, use_case, rows)
    except TransientError:  # what did not answer says nothing about the version
        raise
    except Exception as error:
        why = f"{use_case.name}: a rollback from v{now.version} to v{target} would fail now: {error}; train a new model"
        raise PermanentError(why) from error
    if len(scored) != len(rows) or not np.isfinite(scored["probability"]).all():
        raise PermanentError(f"{use_case.name}: v{target} does not give a probability for each row of {newest}")
    why = f"v{target} loads and scores all {len(rows)} rows of {newest}: a rollback from v{now.version} would work."
    return Drill(now.version, target, newest, len(rows), why)


def sweep(workspace: Workspace, use_case: UseCase) -> Swept:
    """Remove files that no version within `keep_versions_for` needs: replaced ones, and those that were never published.

    The quarantine's text is erased first where it has been kept for `keep_quarantine_for`.

    Versions that a registered model was trained on stay: it could not be reproduced without them. So do all of reference
    data, as features of a past partition are made with what was known then.
    """
    for table, count in forget_rejected(workspace, use_case).items():
        _log.info("%s: the text of %d rows was erased", table, count)
    sources = [source_table(use_case, source) for source in use_case.sources]
    more = [side(table) for table in sources for side in (quarantine_table, unknown_columns_table)]
    kept, skipped = _trained_on(workspace, use_case)
    for table in (source_table(use_case, name) for name, source in use_case.sources.items() if source.snapshot):
        kept[table] = set(range(workspace.lake.version(table) + 1)) if workspace.lake.exists(table) else set()
    found = {}
    for table in (*restorable(use_case), *more):
        if workspace.lake.exists(table) and table not in skipped:
            found[table] = workspace.lake.sweep(table, use_case.keep_versions_for, kept.get(table, ()))
            _log.info("%s: %d files removed", table, found[table])
    return Swept(found, skipped, _sweep_pages(workspace, use_case))


def _sweep_pages(workspace: Workspace, use_case: UseCase) -> int:
    """Drawings of windows that were measured before; what was measured stays in its table."""
    oldest = workspace.clock.now() - use_case.keep_versions_for
    listed = list_files(f"{workspace.environment.reports}/{use_case.name}/drift")
    pages = {page: m["window"] for page, _ in listed if (m := _PAGE.search(page))}
    measured = workspace.lake.published_each(monitoring_table(use_case), pages.values())
    at = {key: commit.record.read_at for key, commit in measured.items()}
    old = [page for page, key in pages.items() if (when := at.get(key)) and datetime.fromisoformat(when) < oldest]
    for page in old:
        remove_file(page)
    return len(old)


def _trained_on(workspace: Workspace, use_case: UseCase) -> tuple[dict[str, set[int]], dict[str, str]]:
    """The table versions that models were trained on; where a model does not say any more, the tables not to touch, and why."""
    try:
        return workspace.registry.tables_read(use_case.name), {}
    except PermanentError as error:
        why = f"left alone, as nobody knows which versions a model was trained on: {error}"
        _log.warning("%s: features and labels are %s", use_case.name, why)
        return {}, dict.fromkeys((features_table(use_case), labels_table(use_case)), why)
