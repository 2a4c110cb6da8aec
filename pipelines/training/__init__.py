"""Pin the data, search each candidate, log it; train a version again to the same numbers.

In: features and labels. Out: `TrainingPlan`, one `Trained` per candidate, `Reproduction`.
"""

from pipelines.training.estimators import make_pipeline
from pipelines.training.reproduction import reproduce, told
from pipelines.training.training import (
    Rows,
    Trained,
    TrainingPlan,
    example,
    fit,
    load_rows,
    model_meta,
    plan_training,
    run_tags,
    train_candidate,
)

__all__ = [
    "Rows",
    "Trained",
    "TrainingPlan",
    "example",
    "fit",
    "load_rows",
    "make_pipeline",
    "model_meta",
    "plan_training",
    "reproduce",
    "run_tags",
    "told",
    "train_candidate",
]
