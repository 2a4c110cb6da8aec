"""What monitoring says of a week of the year under a champion, by the pipelines' own measures, for `retraining_policy.py`."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from real_year import Fits  # noqa: E402

from pipelines.metrics import deviations  # noqa: E402
from pipelines.monitoring import Drift, Monitored, Performance  # noqa: E402
from pipelines.monitoring.comparison import PREDICTION, compare, has_drifted  # noqa: E402
from pipelines.monitoring.drift import sources  # noqa: E402
from pipelines.monitoring.performance import by_partition  # noqa: E402
from pipelines.use_case import PARTITION  # noqa: E402

SAMPLE = 2000  # a smaller `monitoring.sample_rows`, for the time that it takes


def watched(fits: Fits, key: str, week: NDArray[np.bool_], champion: date, version: int, drift: bool) -> Monitored:
    """The window as it would be published, without a page; `week` (n,) are its rows. Without `drift`, outcomes alone."""
    says, day = fits.before(champion)[0][week], fits.day[week]
    parts = {name: by_partition(measure, day) for name, measure in deviations(fits.label[week], says).items()}
    seen = Performance(version, len(day), len(day), *[None] * 6, deviations=parts)
    return Monitored(key, version, drift_of(fits, week, champion, version) if drift else None, seen)


def drift_of(fits: Fits, week: NDArray[np.bool_], champion: date, version: int) -> Drift:
    """As the drift step does: bounded, seeded samples of the week and of the champion's training rows."""
    case, names = fits.use_case, list(fits.use_case.features.names)
    settings, seed, known = case.monitoring, case.training.seed, fits.day < champion
    rows = fits.rows[names].assign(**{PREDICTION: fits.before(champion)[0], PARTITION: fits.day})
    current = rows[week].sample(min(SAMPLE, int(week.sum())), random_state=seed)
    reference = rows[known].sample(min(10 * SAMPLE, int(known.sum())), random_state=seed)
    partitions = len(np.unique(fits.day[week]))
    case = case.model_copy(update={"monitoring": settings.model_copy(update={"sample_rows": SAMPLE})})
    found, judged = compare(case, [*names, PREDICTION], current, reference, partitions), list(case.features.expressions)
    moved, (apart, noise) = found.moved, found.told_apart(judged)
    drifted = tuple(sorted(name for name in judged if has_drifted(settings, moved[name])))
    prediction = moved[PREDICTION]
    return Drift(
        model_version=version,
        drifted_share=len(drifted) / len(judged),
        drifted=drifted,
        prediction_drift=prediction.distance if prediction.real else 0.0,
        distances={name: each.distance for name, each in moved.items()},
        report="",
        moving=tuple(name for name in names if name not in judged),
        nulls={name: moved[name].nulls for name in judged if moved[name].nulls},
        unseen={name: moved[name].unseen for name in judged if moved[name].unseen},
        factors={name: factor for name in judged if (factor := moved[name].factor)},
        sources=sources(case),
        told_apart=apart,
        told_apart_noise=noise,
        rows=int(week.sum()),
        partitions=partitions,
    )
