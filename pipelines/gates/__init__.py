"""What a model must survive before it serves. Unknown, missing or crashed evidence is a no.

In: trained candidates and the champion. Out: `Evaluation`: the chosen one and a verdict per gate.
"""

from pipelines.gates.evaluation import Evaluation, evaluate, evaluate_assessed
from pipelines.gates.gates_in_use import inference_gate
from pipelines.gates.inference import measure
from pipelines.gates.inference_server import warm_up
from pipelines.gates.statistics import MIN_DAYS, day_bootstrap

__all__ = ["MIN_DAYS", "Evaluation", "day_bootstrap", "evaluate", "evaluate_assessed", "inference_gate", "measure", "warm_up"]
