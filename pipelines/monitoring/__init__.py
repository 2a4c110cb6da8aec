"""Has the data drifted, have the predictions, and, once outcomes are in, what were they worth?

In: predictions, labels, the rows that the champion was trained on. Out: a partition of `<use case>/monitoring` per window.
"""

from pipelines.monitoring.drift import measure_drift, measure_drifts, rehearse
from pipelines.monitoring.drift_page import whole_page
from pipelines.monitoring.forecast import Crossing, forecast, forecast_loss
from pipelines.monitoring.observations import (
    Answered,
    Deviation,
    Drift,
    Monitored,
    Performance,
    latest,
    publish,
    publish_measured,
)
from pipelines.monitoring.performance import measure_performance
from pipelines.monitoring.verdict import Judgement, Verdict, judge_window
from pipelines.monitoring.watching import publish_windows, watch
from pipelines.monitoring.windows import per_window
