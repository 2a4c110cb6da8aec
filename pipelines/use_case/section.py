"""What every section of a use-case file shares: frozen, typed, unknown keys refused with the nearest one named."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,40}$")]


class Section(BaseModel):
    # A limit that is not a number would pass or fail everything.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def nearest(word: str, among: Iterable[str]) -> str:
    """The end of a sentence that refuses `word`: which one was meant, or all there are."""
    close = difflib.get_close_matches(word, sorted(among), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; it has {', '.join(sorted(among))}"
