"""Has the data drifted, and what were the predictions worth?

In: predictions, labels, the rows that the champion was trained on. Out: a partition of `<use case>/monitoring`.
"""

from pipelines.monitoring.monitoring import measure_drift, measure_performance, publish, publish_measured
from pipelines.monitoring.observations import Drift, Monitored, Performance, latest

__all__ = ["Drift", "Monitored", "Performance", "latest", "measure_drift", "measure_performance", "publish", "publish_measured"]
