"""What every section of a use-case file shares: frozen, typed, unknown keys refused with the nearest one named."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,40}$")]


PARTITION = "partition"  # the column that every table has


def fold(name: str) -> str:
    """The one rule by which names of columns are the same: Delta and Spark do not tell capitals apart."""
    return name.lower()


def _open_to_files(name: str) -> str:
    if not re.fullmatch(r"[^\W\d_]\w*", name) or fold(name) == PARTITION:
        raise ValueError(
            f"'{name}' cannot be a column's name: letters, digits and underscores from a letter on, and not '{PARTITION}', "
            "which every table has; names that begin with '_' are internal"
        )
    return name


ColumnName = Annotated[str, AfterValidator(_open_to_files)]


def stop_at_same_names(names: Iterable[str]) -> None:
    """Raises ValueError where two names differ by capitals only, or not at all."""
    known: dict[str, str] = {}
    for name in names:
        if fold(name) in known:
            raise ValueError(f"'{known[fold(name)]}' and '{name}' are one name: capitals are not told apart")
        known[fold(name)] = name


class Section(BaseModel):
    # A limit that is not a number would pass or fail everything.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def nearest(word: str, among: Iterable[str]) -> str:
    """The end of a sentence that refuses `word`: which one was meant, or all there are."""
    close = difflib.get_close_matches(word, sorted(among), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; it has {', '.join(sorted(among))}"
