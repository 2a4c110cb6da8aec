"""`spark-submit`, but for a job that the environment's warm Spark takes. Apart, as the operator takes long to import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk.exceptions import AirflowException


class WarmFirst(SparkSubmitOperator):
    """On the warm Spark at the first try, if it answers; a retry has a JVM of its own, whatever became of the first."""

    _warm = False

    def execute(self, context: Any) -> None:
        from pipelines.features import run_warm
        from pipelines.workspace import load_environment

        self._warm = context["ti"].try_number == 1
        if not self._warm or not run_warm(load_environment().spark, Path(self.application), self.application_args or []):
            self._warm = False
            super().execute(context)

    def on_kill(self) -> None:
        """Called from a signal's handler: an error there ends the wait for the job, and with it the job."""
        if self._warm:
            raise AirflowException("ended from outside, and with it its job on the warm Spark")
        super().on_kill()
