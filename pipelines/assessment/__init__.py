"""Is the data fit for a model at all? Asked before training.

In: the planned rows. Out: `Assessed`: a verdict per question, and its report.
"""

from pipelines.assessment.assessment import Assessed, admit, log_report
from pipelines.assessment.rules import noise_level
