"""Schema changes: each arrival against the contract and the last published version, judged, with who is affected.

compatible       published; a new column is kept aside, a missing one filled with its default
needs a default  the source no longer sends a column: nothing is published until somebody decides
breaking         type, meaning or key: nothing is published
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipelines.errors import PermanentError
from pipelines.use_case import Contract, History, Join, UseCase, fold

LABEL = "the label"
_MAX_CHANGES_SHOWN = 8
_TEXT = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_NAME = re.compile(r"`([^`]+)`|\b([A-Za-z_]\w*)\b(?!\s*\()")


class Judgement(StrEnum):
    COMPATIBLE = "compatible"
    NEEDS_DEFAULT = "needs a default"
    BREAKING = "breaking"


@dataclass(frozen=True)
class Change:
    """What happened to one column, and what to do about it; `column` is empty where no single one changed."""

    judgement: Judgement
    column: str
    sentence: str
    mend: str = ""

    @property
    def stops(self) -> bool:
        return self.judgement is not Judgement.COMPATIBLE


def judge_header(header: Sequence[str], contract: Contract) -> list[Change]:
    """The columns that a file has against those of the contract."""
    extra = [name for name in header if name not in contract.columns]
    changes = [_missing(name, contract, extra) for name in contract.columns if name not in header]
    changes += [_new(name) for name in extra]
    known = [name for name in contract.columns if name in header]
    if [name for name in header if name in contract.columns] != known:
        sentence = "columns: in another order than the contract's; read by name"
        changes.append(Change(Judgement.COMPATIBLE, "", sentence))
    return changes


def _missing(name: str, contract: Contract, extra: list[str]) -> Change:
    if contract.columns[name].has_default:
        return Change(Judgement.COMPATIBLE, name, f"{name}: missing, filled with its default")
    close = difflib.get_close_matches(name, extra, n=1, cutoff=0.5)
    sentence = f"'{name}' is missing" + (f" (renamed to '{close[0]}'?)" if close else "")
    if name in contract.key:
        mend = "it is part of the key, so no default can stand for it: have the source mended"
        return Change(Judgement.BREAKING, name, sentence, mend)
    mend = (
        "The source dropped or renamed it: mend the source, give the column a default in contract, or drop it from "
        "contract and features"
    )
    return Change(Judgement.NEEDS_DEFAULT, name, sentence, mend)


def _new(name: str) -> Change:
    sentence = f"{name}: a new column, not in the contract, is kept aside; to publish it, add it to contract, nullable"
    return Change(Judgement.COMPATIBLE, name, sentence)


def judge_table(
    contract: Contract, wanted: Mapping[str, str], published: Mapping[str, str], older: bool = True
) -> list[Change]:
    """The contract's columns and types (`wanted`) against those of the last published version.

    `older`: whether that one holds other partitions, which do not have what is new.
    """
    changes, folded = [], {fold(name): name for name in published}
    for name, kind in wanted.items():
        if folded.get(fold(name), name) != name:
            sentence = f"{name}: the published table has it as {folded[fold(name)]}, and capitals are not told apart"
            changes.append(Change(Judgement.BREAKING, name, sentence, _MIGRATE))
        elif published.get(name, kind) != kind:
            sentence = f"{name}: its type in contract is {kind} by now, the published table has {published[name]}"
            changes.append(Change(Judgement.BREAKING, name, sentence, _MIGRATE))
        elif older and published and name not in published and not _may_be_new(contract, name):
            sentence = f"'{name}' is new in contract, but partitions published before do not have it"
            mend = "make it nullable, or give it a default"
            changes.append(Change(Judgement.NEEDS_DEFAULT, name, sentence, mend))
    return changes


_MIGRATE = (
    "one table holds one type: put the type back, or give the column a new name; to have the new type everywhere, move "
    "the table's folder away and run ingestion for each partition again (docs/runbooks/schema-change.md)"
)


def _may_be_new(contract: Contract, name: str) -> bool:
    return contract.columns[name].nullable or contract.columns[name].has_default


def judge_dropped(use_case: UseCase, source: str, published: Sequence[str]) -> list[Change]:
    """Published columns that the contract has no more: breaking where a feature still mentions them."""
    changes = []
    for name in (n for n in published if n not in use_case.contract[source].columns):
        used = affected(use_case, source, name)
        judgement = Judgement.BREAKING if used else Judgement.COMPATIBLE
        mend = "drop the features that use it, or put it back into contract" if used else ""
        changes.append(Change(judgement, name, f"{name}: no longer in contract; null from this partition on", mend))
    return changes


def judge_values(broken: Counter[str], rows_in: int, contract: Contract) -> list[Change]:
    """Columns of which so many values were rejected, counted by rule, that they must have changed."""
    changes = []
    for rule, count in broken.most_common():
        column, _, what = rule.partition(".")
        if column in contract.columns and count > contract.max_rejected_share * rows_in:
            kind = "type" if what == "type" else "meaning (unit, codes, time zone)"
            sentence = f"{column}: its {kind} seems to have changed, {count} of {rows_in} rows break {rule}"
            changes.append(Change(Judgement.BREAKING, column, sentence))
    return changes


def stop_or_report(changes: Sequence[Change], where: str, impact_of: Callable[[str], str]) -> list[str]:
    """The compatible changes as sentences. `impact_of(column)` says what a column's change affects.

    Raises:
        PermanentError: a change that needs a default or breaks; names the column and who is affected.
    """
    stops = [change for change in changes if change.stops]
    if stops:
        listed = "; ".join(f"{c.sentence} [{c.judgement}{impact_of(c.column)}]" for c in stops[:_MAX_CHANGES_SHOWN])
        more = f"; and {len(stops) - _MAX_CHANGES_SHOWN} more" if len(stops) > _MAX_CHANGES_SHOWN else ""
        mends = " ".join(dict.fromkeys(f"{c.mend[0].upper()}{c.mend[1:]}." for c in stops if c.mend))
        raise PermanentError(f"{where}: {listed}{more}. {mends}".rstrip())
    return [change.sentence + (impact_of(change.column) if change.column else "") for change in changes]


def affected(use_case: UseCase, source: str, column: str) -> tuple[str, ...]:
    """The features that stand on a source's column, and the label if it does, in the order of the file."""
    spec, label = use_case.features, use_case.label
    identifying = {spec.entity: {spec.key, spec.date}, label.source: {spec.key}}
    identity = column in identifying.get(source, ())
    outcome = source == label.source and column in (label.column, label.known_at)
    carriers = _carriers(use_case, source, column.lower())
    found = [name for name, expression in spec.expressions.items() if identity or identifiers(expression) & carriers]
    for past in spec.history:
        if identity or outcome or (source == spec.entity and column in past.by):
            found += _names(past)
    return (*([LABEL] if outcome or (identity and source == label.source) else []), *found)


def _carriers(use_case: UseCase, source: str, name: str) -> set[str]:
    """Names under which the column's values reach the expressions: its own, or those of the joins that they pass through."""
    spec = use_case.features
    aliases = {alias.lower() for join in spec.joins for alias in join.columns}
    known = {column.lower() for column in use_case.contract[spec.entity].columns}
    carriers = {name} if source == spec.entity and (name in known or name not in aliases) else set()
    for join in spec.joins:
        carriers |= _through(join, source, spec.entity, name)
    return carriers


def _through(join: Join, source: str, entity: str, name: str) -> set[str]:
    every = {alias.lower() for alias in join.columns}
    if source == entity and any(name in identifiers(expression) for expression in join.match.values()):
        return every
    if source != join.table:
        return set()
    if name in {column.lower() for column in join.match}:
        return every
    return {alias.lower() for alias, expression in join.columns.items() if name in identifiers(expression)}


def _names(past: History) -> list[str]:
    return [f"{past.name}_late_{days}d" for days in past.windows]


def identifiers(expression: str) -> frozenset[str]:
    """Words of a SQL expression that may be columns, in small letters: no texts, no names of functions."""
    return frozenset((quoted or bare).lower() for quoted, bare in _NAME.findall(_TEXT.sub(" ", expression)))


def impact(use_case: UseCase, source: str, champion: int | None, column: str) -> str:
    """What a column's change affects, as the end of a sentence."""
    found = affected(use_case, source, column) if column else ()
    if not found:
        return "; no feature uses it" if column else ""
    model = f" and with them the champion, model v{champion}" if champion else ""
    return f"; affected: {', '.join(found)}{model}"
