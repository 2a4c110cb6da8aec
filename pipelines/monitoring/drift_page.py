"""Evidently's page of what has moved: it draws, and a test holds our distances to its own.

Six parts of seven of a page are its library, the same in each: kept once, in files beside the pages.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from typing import TYPE_CHECKING

from pipelines.monitoring.comparison import is_category
from pipelines.use_case import UseCase
from pipelines.workspace import StageRun, file_exists, read_bytes, write_bytes

if TYPE_CHECKING:
    from pandas import DataFrame

_BLOCK = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)
_LINK = re.compile(r'<(script|style) src="shared/([0-9a-f]{16})"></\1>')
_LARGE = 50_000  # characters; what holds the page's own data is larger, too, and stays


def draw(run: StageRun, version: int, current: DataFrame, reference: DataFrame, columns: list[str]) -> str:
    """Evidently's page of the furthest features, in the reports folder."""
    report = f"{run.use_case.name}/drift/{run.key}-v{version}.html"
    # Evidently raises for the whole report at a column without values.
    usable = [c for c in columns if not current[c].isna().all() and not reference[c].isna().all()]
    _, page = evidently(run.use_case, current, reference, usable)
    place = f"{run.workspace.environment.reports}/{report}"
    small, shared = without_library(page)
    for name, text in shared.items():
        if not file_exists(f"{_folder(place)}/{name}"):
            write_bytes(f"{_folder(place)}/{name}", text.encode())
    write_bytes(place, small.encode())
    return report


def _folder(place: str) -> str:
    return f"{place.rpartition('/')[0]}/shared"


def without_library(page: str) -> tuple[str, dict[str, str]]:
    """The page, and by name the blocks that it shares with others."""
    shared: dict[str, str] = {}

    def link(block: re.Match[str]) -> str:
        kind, text = block.groups()
        if len(text) < _LARGE or "var metric_" in text:
            return block[0]
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        shared[name] = text
        return f'<{kind} src="shared/{name}"></{kind}>'

    return _BLOCK.sub(link, page), shared


def whole_page(place: str, page: bytes) -> bytes:
    """A page from `place` with what it shares put back: it is served by itself, and may ask nobody for anything."""
    return _LINK.sub(lambda m: f"<{m[1]}>{read_bytes(f'{_folder(place)}/{m[2]}').decode()}</{m[1]}>", page.decode()).encode()


def evidently(use_case: UseCase, current: DataFrame, reference: DataFrame, columns: list[str]) -> tuple[dict[str, float], str]:
    """Distance per column (normed Wasserstein, Jensen-Shannon for categories) and the report's page."""
    os.environ.setdefault("DO_NOT_TRACK", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        categorical = [c for c in columns if is_category(use_case, reference, c)]
        definition = DataDefinition(
            numerical_columns=[c for c in columns if c not in categorical], categorical_columns=categorical
        )
        limit = use_case.monitoring.max_drift_distance
        preset = DataDriftPreset(
            columns=columns, num_method="wasserstein", cat_method="jensenshannon", num_threshold=limit, cat_threshold=limit
        )
        datasets = [Dataset.from_pandas(f[columns], data_definition=definition) for f in (current, reference)]
        snapshot = Report([preset], include_tests=False).run(*datasets)
        found = {
            m["config"]["column"]: float(m["value"])
            for m in snapshot.dict()["metrics"]
            if m["config"]["type"].endswith(":ValueDrift")
        }
        return found, str(snapshot.get_html_str(as_iframe=False))
