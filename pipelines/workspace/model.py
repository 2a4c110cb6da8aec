"""A registered model's files: saved as skops, loaded only after their types and digest were checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict

from pipelines.errors import PermanentError
from pipelines.use_case import Definitions

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline

MODEL_FILE = "model.skops"

# What a scikit-learn pipeline of ours is made of beyond skops' own defaults. Static on purpose: the list that travels
# inside a model is not to be trusted.
TRUSTED_TYPES = frozenset(
    {
        "numpy.dtype",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.link.Interval",
        "sklearn._loss.loss.HalfBinomialLoss",
        "sklearn._loss._loss.CyHalfBinomialLoss",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.compose._column_transformer._RemainderColsList",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.model_selection._split.TimeSeriesSplit",
        "sklearn.tree._tree.Tree",
    }
)


class Example(TypedDict):
    """Rows that the model was tried on when it was logged, null where a value is missing, and what it said of each."""

    rows: list[dict[str, float | str | None]]
    probability: list[float]


class ModelMeta(TypedDict):
    """What a version carries to be served, judged and rebuilt. `holdout`: scores of what was judged, where it was refitted."""

    use_case: str
    features: list[str]
    definitions: NotRequired[Definitions]  # not with versions from before they were recorded
    candidate: str
    params: dict[str, object]
    partition: str
    partitions: list[str]
    versions: dict[str, int]
    holdout_from: str
    trained_through: str
    seed: int
    configuration: str
    code: str
    lock: str
    holdout: NotRequired[dict[str, float | int | None]]
    example: NotRequired[Example]  # not with versions from before it was recorded


@dataclass(frozen=True)
class Model:
    """A loaded version: the scikit-learn pipeline, and what was recorded with it."""

    name: str
    version: int
    pipeline: Pipeline
    meta: ModelMeta
    signature: dict[str, str] | None = None  # input column -> MLflow's type

    def predict(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        """Probability of the positive label per row; columns are taken by name."""
        missing = [c for c in self.meta["features"] if c not in rows.columns]
        if missing:
            raise PermanentError(
                f"{self.name} v{self.version}: the rows lack {', '.join(missing)}, which the model was trained on; "
                "rebuild the features with the use case as it was, or train a new model"
            )
        return self.pipeline.predict_proba(rows[self.meta["features"]])[:, 1]


def load_model(folder: Path, name: str, version: int, digest: str) -> Model:
    """Load a model's folder; see `Registry.load`."""
    import skops.io

    file = folder / MODEL_FILE
    if digest_of_model(folder) != digest:
        raise PermanentError(
            f"{name} v{version}: the model file is not the one that was registered (its SHA-256 differs); "
            "do not use it: roll back, and find out who wrote to the artifact store"
        )
    types = check_types(skops.io.get_untrusted_types(file=file), f"{name} v{version}")
    described = _described(folder)
    columns = json.loads((described["signature"] or {}).get("inputs") or "[]")
    return Model(
        name=name,
        version=version,
        pipeline=skops.io.load(file, trusted=types),
        meta=json.loads(described["trainyard"]),
        signature={c["name"]: c["type"] for c in columns} or None,
    )


def kept_and_loaded(pipeline: Pipeline, where: str) -> Pipeline:
    """The pipeline as it comes back from a model's file.

    Raises:
        PermanentError: it holds a type outside the allow-list.
    """
    import skops.io

    data = skops.io.dumps(pipeline)
    return skops.io.loads(data, trusted=check_types(skops.io.get_untrusted_types(data=data), where))


def check_types(types: Iterable[str], where: str) -> list[str]:
    """Return `types` if each is on the allow-list.

    Raises:
        PermanentError: names the types that are not.
    """
    unknown = sorted(set(types) - TRUSTED_TYPES)
    if unknown:
        raise PermanentError(
            f"{where}: holds types outside the allow-list: {', '.join(unknown)}; it is not loaded. If they are "
            "yours and harmless, add them to TRUSTED_TYPES in pipelines/workspace/model.py"
        )
    return list(types)


def digest_of_model(folder: Path) -> str:
    """Of the model file, and of what we read from the file about it: features and dates decide what is served, and to whom."""
    described = json.dumps(_described(folder), sort_keys=True).encode()
    return hashlib.sha256((folder / MODEL_FILE).read_bytes() + described).hexdigest()


class _Described(TypedDict):
    trainyard: str
    signature: dict[str, str] | None


def _described(folder: Path) -> _Described:
    """What MLflow's own file beside the model says that we go by."""
    import yaml

    found = yaml.safe_load((folder / "MLmodel").read_text())
    return _Described(trainyard=found["metadata"]["trainyard"], signature=found.get("signature"))


def with_nulls(example: pd.DataFrame) -> pd.DataFrame:
    """Numbers as doubles, missing in the first row."""
    numbers = example.select_dtypes("number").astype(float)
    numbers.iloc[0] = float("nan")
    return example.assign(**numbers)


def tried(pipeline: Pipeline, rows: pd.DataFrame) -> Example:
    """What the pipeline says of these rows, to be compared wherever it is loaded."""
    import pandas as pd

    plain = [{str(name): None if pd.isna(v) else v for name, v in row.items()} for row in rows.to_dict("records")]
    return Example(rows=plain, probability=pipeline.predict_proba(rows)[:, 1].tolist())


def requirements() -> list[str]:
    """What a model needs to be loaded."""
    from importlib.metadata import version

    return [f"{name}=={version(name)}" for name in ("scikit-learn", "skops", "numpy", "pandas", "mlflow")]
