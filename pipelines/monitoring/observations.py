"""What monitoring has seen: the rows of the `monitoring` table, which decisions and pages read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property

from pipelines.results import from_json
from pipelines.use_case import UseCase, monitoring_table
from pipelines.workspace import CommitRecord, StageRun, Workspace


@dataclass(frozen=True)
class Present:
    """The window's features as they are published now, `version` of their table, measured `at`; the rest as in `Drift`."""

    version: int
    at: str
    rows: int
    nulls: dict[str, float]
    unseen: dict[str, float]
    factors: dict[str, float]
    slices_gone: dict[str, float] = field(default_factory=dict)
    slice_nulls: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Reference:
    """The window against other rows than the champion's training rows: `about` says which, `missing` why not."""

    about: str
    drifted: tuple[str, ...]
    drifted_share: float
    prediction_drift: float
    missing: str | None = None


@dataclass(frozen=True)
class Drift:
    """Distances per column beyond the noise at this sample size; `report` is Evidently's page, relative to the reports folder.

    `drifted_share` is of the features that are judged. `moving` ones, shares of the past, must move: they are judged by what
    they did to the mean prediction, `moving_effect`. `not_compared` are features that the model does not know: they came after
    it. By feature, where beyond chance: `nulls`, the change of the share without a value; `unseen`, the share of values that
    the reference lacks; `factors`, what the values were multiplied by; `sources`, which table it comes from. `told_apart`: the
    AUC of a classifier that tells the window from the reference; `told_apart_noise`, that of parts of the reference. `rows`
    were served, in `partitions`; `estimated_log_loss` is what their probabilities promise, give or take `estimate_error`.
    `present` where a fault was served and the features were built again since. `baseline` and `season` are further references.
    `slices_gone` (their share of the reference) and `slice_nulls` are by slice, such as `depot north`.
    """

    model_version: int
    drifted_share: float
    drifted: tuple[str, ...]
    prediction_drift: float
    distances: dict[str, float]
    report: str
    not_compared: tuple[str, ...] = ()
    noise: dict[str, float] = field(default_factory=dict)
    moving: tuple[str, ...] = ()
    moving_effect: float | None = None
    nulls: dict[str, float] = field(default_factory=dict)
    unseen: dict[str, float] = field(default_factory=dict)
    factors: dict[str, float] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    told_apart: float | None = None
    told_apart_noise: float | None = None
    rows: int | None = None
    partitions: int | None = None
    estimated_log_loss: float | None = None
    estimate_error: float | None = None
    present: Present | None = None
    slices_gone: dict[str, float] = field(default_factory=dict)
    slice_nulls: dict[str, dict[str, float]] = field(default_factory=dict)
    baseline: Reference | None = None
    season: Reference | None = None


@dataclass(frozen=True)
class Deviation:
    """One measure of the window against what the model promised of its rows, see `metrics.deviations`.

    `parts`: by partition (rows, sum of the rows' shares, its variance by the promise): rows of a day are not independent.
    """

    value: float
    most: float
    parts: tuple[tuple[int, float, float], ...]

    @cached_property
    def sums(self) -> tuple[int, float]:
        """Rows, and the variance, over all parts."""
        return sum(n for n, _, _ in self.parts), sum(variance for _, _, variance in self.parts)


@dataclass(frozen=True)
class Slice:
    """The same of the rows with one value of a segment, without parts; `variance` is that of the mean, by the promise."""

    segment: str
    rows: int
    value: float
    variance: float
    most: float


@dataclass(frozen=True)
class Performance:
    """How the served predictions did, against outcomes; `worth` is money against doing nothing.

    `deviations` by measure, and `slices` of the measures that are of single rows; none in rows from before there were any.
    """

    model_version: int
    rows: int
    labels: int
    auc: float | None
    log_loss: float | None
    positive_share: float | None
    mean_prediction: float | None
    calibration_error: float | None
    worth: float | None
    deviations: dict[str, Deviation] = field(default_factory=dict)
    slices: dict[str, tuple[Slice, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Answered:
    """What the API said about a window by one version: so many `answers` of so many `rows`.

    `late` rows came once their outcome was known, and those `without_key` have none; `labels` are of the others, each key
    once. `prediction_drift` is from what bulk served in the window by the same version, beyond the noise; None of others.
    """

    model_version: int
    answers: int
    rows: int
    without_key: int
    late: int
    labels: int
    auc: float | None
    log_loss: float | None
    positive_share: float | None
    mean_prediction: float | None
    calibration_error: float | None
    worth: float | None
    prediction_drift: float | None


@dataclass(frozen=True)
class Monitored:
    """The state of one window, as published in the `monitoring` table; `failure` is what measuring it tripped over last.

    `answers` of the API by version, the one that is judged first; they are told, and nothing is decided by them.
    """

    partition: str
    model_version: int | None
    drift: Drift | None
    performance: Performance | None
    failure: str | None = None
    answers: tuple[Answered, ...] = ()


def latest(workspace: Workspace, use_case: UseCase) -> dict[str, Monitored]:
    """What is known of every monitored partition, oldest first."""
    if not workspace.lake.partitions(monitoring_table(use_case)):
        return {}
    found = {}
    for row in workspace.lake.read(monitoring_table(use_case), columns=["model_version", "document"]).to_pylist():
        document = json.loads(row["document"])
        drift, performance = document["drift"], document["performance"]
        found[row["partition"]] = Monitored(
            row["partition"],
            row["model_version"],
            from_json(Drift, drift) if drift else None,
            from_json(Performance, performance) if performance else None,
            document.get("failure"),
            tuple(from_json(Answered, each) for each in document.get("answers", ())),
        )
    return dict(sorted(found.items()))


def publish(
    run: StageRun,
    drift: Drift | None,
    performance: Performance | None,
    failure: str | None = None,
    answers: tuple[Answered, ...] = (),
) -> Monitored:
    """Make the partition's state visible. A measure that is not there yet does not erase one that is."""
    import pyarrow as pa

    before = latest(run.workspace, run.use_case).get(run.key)
    if before is not None:
        drift, performance, answers = drift or before.drift, performance or before.performance, answers or before.answers
    version = next((m.model_version for m in (performance, drift) if m), None)
    state = Monitored(run.key, version, drift, performance, failure, answers)
    told = ("drift", "performance", "failure", *(["answers"] if answers else []))
    document = json.dumps({name: asdict(state)[name] for name in told}, allow_nan=False)
    columns = {"model_version": pa.int64(), "auc": pa.float64(), "log_loss": pa.float64(), "drifted_share": pa.float64()}
    row = {
        "model_version": version,
        "auc": performance.auc if performance else None,
        "log_loss": performance.log_loss if performance else None,
        "drifted_share": drift.drifted_share if drift else None,
        "document": document,
    }
    schema = pa.schema([*columns.items(), ("document", pa.string())])
    table = monitoring_table(run.use_case)
    staged = run.lake.stage(table, run.key, pa.Table.from_pylist([row], schema=schema))
    run.lake.publish(table, run.key, [staged], CommitRecord(run=run.id, read_at=run.workspace.clock.now().isoformat()))
    return state


def publish_measured(
    run: StageRun,
    drift: Mapping[str, object] | None,
    performance: Mapping[str, object] | None,
    failure: str | None = None,
    answers: tuple[Answered, ...] = (),
) -> Monitored:
    """`publish`, with the measures as the JSON that travelled between tasks."""
    measured = from_json(Drift, drift) if drift else None, from_json(Performance, performance) if performance else None
    return publish(run, *measured, failure, answers)
