"""Section `label:` what is predicted."""

from __future__ import annotations

from typing import Literal

from pipelines.use_case.section import Section


class Label(Section):
    """The label of a row: `column operator threshold`, known at `known_at`; a null `column` is no label."""

    source: str
    column: str
    operator: Literal[">=", ">", "<=", "<", "=="]
    threshold: float
    known_at: str
    description: str
