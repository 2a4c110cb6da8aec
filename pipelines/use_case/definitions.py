"""What a feature means: a digest of everything that its values are made from, so that two of one name can be told apart."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from pipelines.use_case.column_types import value_text
from pipelines.use_case.features import Features, History, Join
from pipelines.use_case.label import Label
from pipelines.use_case.use_case import UseCase

Definitions = dict[str, str]
_WORD = re.compile(r"[A-Za-z_]\w*")
_TYPE_IN_PLAN = {"bigint": "integer", "double": "number"}  # the other types are called alike in Spark


def feature_definitions(use_case: UseCase) -> Definitions:
    """Feature to digest: of its expression, the joins and source columns (with their types) that it names, its windows,
    and when what it looks up is known."""
    columns = {
        table: {name: (c.type.value, value_text(c.default)) for name, c in contract.columns.items()}
        for table, contract in use_case.contract.items()
    }
    when = {name: source.timing for name, source in use_case.sources.items()}
    return _Meaning(use_case.features, use_case.label, use_case.timezone, columns, when).definitions()


class PlannedColumn(TypedDict):
    """`type` is Spark's name of it."""

    type: str
    default: str | None


class PlannedInput(TypedDict):
    columns: dict[str, PlannedColumn]
    when: NotRequired[dict[str, float | bool]]  # older plans have none


class Planned(TypedDict):
    """What a features job's plan says of the definitions."""

    features: dict[str, object]
    label: dict[str, object]
    timezone: str
    inputs: dict[str, PlannedInput]


def definitions_in_plan(plan: Planned) -> Definitions:
    """The same, of a plan that a features job worked by: rows from before there were digests are told by it."""
    columns = {
        table: {n: (_TYPE_IN_PLAN.get(c["type"], c["type"]), c["default"]) for n, c in given["columns"].items()}
        for table, given in plan["inputs"].items()
    }
    spec, label = Features.model_validate(plan["features"]), Label.model_validate(plan["label"])
    when = {table: given.get("when", {}) for table, given in plan["inputs"].items()}
    return _Meaning(spec, label, plan["timezone"], columns, when).definitions()


@dataclass(frozen=True)
class _Meaning:
    """`columns`: by table and name, the type and the default, as text; `when`: by table, its source's timing."""

    spec: Features
    label: Label
    timezone: str
    columns: Mapping[str, Mapping[str, tuple[str, str | None]]]
    when: Mapping[str, Mapping[str, float | bool]]

    def definitions(self) -> Definitions:
        about = {name: self._expression(text) for name, text in self.spec.expressions.items()}
        about |= {f"{h.name}_late_{days}d": self._history(h, days) for h in self.spec.history for days in h.windows}
        return {name: _digest({**parts, "categorical": name in self.spec.categorical}) for name, parts in about.items()}

    def _expression(self, text: str) -> dict[str, object]:
        return {"expression": text.strip(), "columns": self._named(self.spec.entity, [text]), "joins": self._joined([text])}

    def _history(self, history: History, days: int) -> dict[str, object]:
        spec, label = self.spec, self.label
        overall = next((max(h.windows) for h in spec.history if not h.by), None)
        return {
            "columns": self._named(spec.entity, history.by),
            "joins": self._joined(history.by),
            "how": history.model_dump(mode="json", exclude={"name", "windows"}, exclude_defaults=True),
            "days": days,
            "date": [spec.date, self.timezone],
            "label": label.model_dump(mode="json", exclude={"description"}),
            "outcome": self._named(label.source, [label.column, label.known_at]),
            **self._when(label.source),
            "drawn": [overall, spec.prior_weight] if history.by else [],
        }

    def _joined(self, texts: Iterable[str]) -> dict[str, object]:
        """The joins whose columns are named, as far as these columns go."""
        words = _words(texts)
        return {j.table: self._join(j, sorted(words & set(j.columns))) for j in self.spec.joins if words & set(j.columns)}

    def _join(self, join: Join, names: list[str]) -> dict[str, object]:
        texts = {name: join.columns[name].strip() for name in names}
        here = self._named(self.spec.entity, join.match.values())
        reach = {"lookback": join.lookback.total_seconds()} if join.lookback else {}  # older digests have none
        return {
            **reach,
            **self._when(join.table),
            "match": join.match,
            "texts": texts,
            "here": here,
            "there": self._named(join.table, [*texts.values(), *join.match]),
        }

    def _when(self, table: str) -> dict[str, object]:
        return {"when": dict(self.when[table])} if self.when.get(table) else {}  # nothing declared: as in older digests

    def _named(self, table: str, texts: Iterable[str]) -> dict[str, object]:
        """The table's columns that the expressions name."""
        words = _words(texts)
        return {name: about for name, about in sorted(self.columns[table].items()) if name in words}


def _words(texts: Iterable[str]) -> set[str]:
    return {word for text in texts for word in _WORD.findall(text)}


def _digest(parts: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
