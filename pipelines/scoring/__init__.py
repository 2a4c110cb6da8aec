"""Predictions by the champion of that time: the first ones of a partition are served, and stay; later ones are kept beside.

In: a partition of features, or those of a longer period. Out: partitions of `<use case>/predictions`.
"""

from pipelines.scoring.predicting import HUNDRED
from pipelines.scoring.scoring import predict, rehearse, score
from pipelines.scoring.variants import units_by_key
