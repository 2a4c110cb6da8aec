"""Gate: acting on the model is worth enough; the value matrix has the right signs."""

from __future__ import annotations

import numpy as np

from pipelines.gates.evidence import Array, Evidence
from pipelines.results import Verdict
from pipelines.use_case import Gates, money


def judge(evidence: Evidence, settings: Gates) -> Verdict:
    if evidence.value is None:
        return Verdict("economics", True, "The use case states no value per outcome, so none is asked.")

    def worth(probability: Array) -> float:
        return money(evidence.label, probability, evidence.value, evidence.threshold)  # type: ignore[arg-type]

    perfect, useless = worth(evidence.label.astype(float)), worth(1.0 - evidence.label)
    always, mine = worth(np.ones(len(evidence.label))), worth(evidence.challenger)
    unit, rows = evidence.value.unit, len(evidence.label)
    numbers = {"worth": mine, "perfect": perfect, "useless": useless, "always": always, "rows": rows}
    if not (perfect > 0 and perfect >= max(mine, always) and useless <= min(mine, always, 0.0)):
        sentence = (
            f"The value matrix has a wrong sign: a perfect model would earn {perfect:,.0f} {unit}, always acting "
            f"{always:,.0f}, one that is always wrong {useless:,.0f}; the perfect one must earn most and the useless least."
        )
        return Verdict("economics", False, sentence, numbers)
    asked = settings.min_value_per_row * rows
    sentence = (
        f"Acting on it would have been worth {mine:,.0f} {unit} on {rows} rows, against doing nothing "
        f"(more than {asked:,.0f} asked; a perfect model: {perfect:,.0f})."
    )
    return Verdict("economics", bool(mine > asked), sentence, numbers)
