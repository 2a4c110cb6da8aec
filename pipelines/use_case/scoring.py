"""Section `scoring:` what becomes of a probability."""

from __future__ import annotations

from pydantic import Field

from pipelines.use_case.section import Section, fold

# Of the predictions table, beside the key.
PREDICTION_COLUMNS = ("model_version", "probability", "act", "made_at", "run", "features_version", "served")
ANSWER_COLUMNS = ("answer", "row", "features_partition")  # of the answers table, beside those


class Scoring(Section):
    threshold: float = Field(0.5, ge=0, le=1, description="from this probability on, the users act")


def stop_at_prediction_column(key: str, columns: tuple[str, ...] = (*PREDICTION_COLUMNS, *ANSWER_COLUMNS)) -> None:
    """Raises ValueError where the predictions could not have the key beside their own columns."""
    if fold(key) in columns:
        raise ValueError(
            f"features.key: '{key}' is a column of the predictions or answers ({', '.join(columns)}); "
            "let the source send its key by another name"
        )
