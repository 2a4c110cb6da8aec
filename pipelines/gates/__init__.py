"""What a model must survive before it serves. Unknown, missing or crashed evidence is a no.

In: trained candidates and the champion. Out: `Evaluation`: the chosen one and a verdict per gate.
"""

from pipelines.gates.evaluation import Evaluation, Judged, evaluate, evaluate_candidates
from pipelines.gates.evidence import Array, Challenger
from pipelines.gates.inference import measure as measure_inference
from pipelines.gates.inference import verdict_on as judge_inference
from pipelines.gates.judgement import warm_up
from pipelines.gates.statistics import MIN_DAYS, day_bootstrap
