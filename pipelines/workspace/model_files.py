"""A model's files: what may be in them, their digest, and what was recorded with the pipeline."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import PermanentError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
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


@dataclass(frozen=True)
class Model:
    """A loaded version: the scikit-learn pipeline, and what was recorded with it."""

    name: str
    version: int
    pipeline: Pipeline
    meta: dict[str, Any]
    signature: dict[str, str] | None = None  # input column -> MLflow's type

    def predict(self, rows: pd.DataFrame) -> np.ndarray[Any, Any]:
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
    if digest_of_files(folder) != digest:
        raise PermanentError(
            f"{name} v{version}: the model file is not the one that was registered (its SHA-256 differs); "
            "do not use it: roll back, and find out who wrote to the artifact store"
        )
    types = check_types(skops.io.get_untrusted_types(file=file), f"{name} v{version}")
    about = _about(folder)
    columns = json.loads((about["signature"] or {}).get("inputs") or "[]")
    signature = {c["name"]: c["type"] for c in columns} or None
    return Model(name, version, skops.io.load(file, trusted=types), json.loads(about["trainyard"]), signature)


def kept_and_loaded(pipeline: Pipeline, where: str) -> Pipeline:
    """The pipeline as it comes back from a model's file.

    Raises:
        PermanentError: it holds a type outside the allow-list.
    """
    import skops.io

    data = skops.io.dumps(pipeline)
    return skops.io.loads(data, trusted=check_types(skops.io.get_untrusted_types(data=data), where))


def check_types(types: list[str], where: str) -> list[str]:
    """Return `types` if each is on the allow-list.

    Raises:
        PermanentError: names the types that are not.
    """
    unknown = sorted(set(types) - TRUSTED_TYPES)
    if unknown:
        raise PermanentError(
            f"{where}: holds types outside the allow-list: {', '.join(unknown)}; it is not loaded. If they are "
            "yours and harmless, add them to TRUSTED_TYPES in pipelines/workspace/model_files.py"
        )
    return list(types)


def digest_of_files(folder: Path) -> str:
    """Of the model file, and of what we read from the file about it: features and dates decide what is served, and to whom."""
    about = json.dumps(_about(folder), sort_keys=True).encode()
    return hashlib.sha256((folder / MODEL_FILE).read_bytes() + about).hexdigest()


def _about(folder: Path) -> dict[str, Any]:
    import yaml

    found = yaml.safe_load((folder / "MLmodel").read_text())
    return {"trainyard": found["metadata"]["trainyard"], "signature": found.get("signature")}


def requirements() -> list[str]:
    from importlib.metadata import version

    return [f"{name}=={version(name)}" for name in ("scikit-learn", "skops", "numpy", "pandas", "mlflow")]
