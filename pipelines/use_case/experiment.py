"""Section `experiment:` which versions are compared on the rows that come, by what, and who decides how much each serves."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from pipelines.use_case.section import Name, Section

EXPERIMENT_COLUMNS = ("variant", "unit", "weight", "assigned")  # of the predictions, beside their own, while one runs
_Share = Annotated[float, Field(gt=0, le=1)]
_Key = Annotated[str, BeforeValidator(lambda key: key.isoformat() if isinstance(key, date) else key)]  # YAML knows dates
_Version = Annotated[int, Field(ge=1)]


class Experiment(Section):
    name: Name = Field(description="a new experiment has a new name; while one runs nothing of it can be changed")
    question: str = Field(description="such as: is v4 worth more per flight than v3?")
    challengers: dict[Name, _Version | Literal["newest"]] = Field(
        min_length=1, max_length=4, description="by variant: a version, or the newest that passed its gates and does not serve"
    )
    first: _Key = Field(description="first partition; no earlier than the first that was not served when it is opened")
    last: _Key = Field(description="last partition")
    unit: str | None = Field(None, description="column of features.entity: rows with the same value get the same variant")
    salt: str | None = Field(None, description="experiments of one salt give a unit the same place; without it, the name")
    metric: Literal["money", "log_loss"] = Field("money", description="what a row was worth, by `value`, or its log loss")
    policy: Literal["shadow", "canary", "fixed", "winner", "thompson"] = "shadow"
    shares: tuple[_Share, ...] = Field(
        (0.05, 0.2, 0.5), min_length=1, description="of all challengers together: canary's steps; others start with the first"
    )
    floor: float = Field(0.05, ge=0, lt=1, description="thompson: each variant serves at least this share of units")
    ceiling: float = Field(0.95, gt=0, le=1, description="thompson: and at most this one")
    minimum_effect: float = Field(gt=0, description="smallest useful gain per row: tells when an answer is expected")
    false_better: float = Field(0.05, gt=0, lt=1, description="chance that any challenger is called better that is not")
    max_loss: float = Field(0.0, ge=0, description="guard: surely worse by more than this per row, a challenger is taken out")
    max_action_change: float = Field(
        0.2, gt=0, le=1, description="guard: share of rows acted upon, against the champion's on the same rows"
    )
    max_latency_ms: float = Field(250, gt=0, description="guard: of up to a hundred rows at once, where the champion is faster")

    @model_validator(mode="after")
    def _shares_fit(self) -> Experiment:
        if "champion" in self.challengers:
            raise ValueError("challengers: 'champion' is the variant that serves now; call the challenger otherwise")
        if len(set(self.challengers.values())) < len(self.challengers):
            raise ValueError("challengers: two of them are the same version")
        variants = len(self.challengers) + 1
        if self.floor * variants > 1 or self.ceiling * variants < 1:
            raise ValueError(
                f"floor/ceiling: {variants} variants cannot share all units between {self.floor} and {self.ceiling}"
            )
        return self
