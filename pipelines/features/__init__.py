"""Features, point-in-time correct: plan a Spark job, audit what it wrote, publish it.

In: published partitions of the sources. Out: a partition of `<use case>/features`.
"""

from pipelines.features.features import publish
from pipelines.features.inputs import missing
from pipelines.features.planning import FeaturePlan, plan
from pipelines.features.readiness import affected, plan_due, unready
from pipelines.features.rebuilding import rebuilt
from pipelines.features.spark import build, run_warm, spark_environment, warm_address, warm_server
from pipelines.features.staleness import outdated
