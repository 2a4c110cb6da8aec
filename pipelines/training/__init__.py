"""Pin the data, search each candidate, log it; train a version again to the same numbers.

In: features and labels. Out: `TrainingPlan`, one `Trained` per candidate, `Reproduction`.
"""

from pipelines.training.candidates import Trained, example, train_candidate
from pipelines.training.estimators import fit, make_pipeline
from pipelines.training.plan import Rows, TrainingPlan, TrainingRun, plan_training
from pipelines.training.provenance import model_meta, run_tags
from pipelines.training.reproduction import reproduce
