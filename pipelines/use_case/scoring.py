"""Section `scoring:` what becomes of a probability."""

from __future__ import annotations

from pydantic import Field

from pipelines.use_case.section import Section


class Scoring(Section):
    threshold: float = Field(0.5, ge=0, le=1, description="from this probability on, the users act")
