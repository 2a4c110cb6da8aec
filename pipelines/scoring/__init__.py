"""Predictions by the champion of that time, once per row and model version.

In: a partition of features. Out: a partition of `<use case>/predictions`.
"""

from pipelines.scoring.scoring import predict, rehearse, score
