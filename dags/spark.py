"""Which operator runs a Spark job: told by the environment file, here and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.workspace import SparkSettings, load_environment

JOBS = Path(__file__).resolve().parents[1] / "spark_jobs"


def spark_job(task_id: str, job: str, arguments: list[str], **options: Any) -> Any:
    """A task that runs `spark_jobs/<job>` with (templated) arguments."""
    settings = load_environment().spark
    make = {"spark_submit": _spark_submit, "dataproc": _dataproc}[settings.operator]
    return make(settings, task_id, job, arguments, options)


def _spark_submit(settings: SparkSettings, task_id: str, job: str, arguments: list[str], options: dict[str, Any]) -> Any:
    from warm_spark import WarmFirst

    from pipelines.features import spark_environment

    return WarmFirst(
        task_id=task_id,
        application=str(JOBS / job),
        application_args=arguments,
        conn_id=settings.connection,
        conf={k: v for k, v in settings.properties.items() if k != "spark.master"},
        driver_memory=settings.driver_memory,
        name=task_id,
        env_vars={
            k: v for k, v in spark_environment().items() if k in ("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON", "PYTHONPATH")
        },
        **options,
    )


def _dataproc(settings: SparkSettings, task_id: str, job: str, arguments: list[str], options: dict[str, Any]) -> Any:
    from airflow.providers.google.cloud.operators.dataproc import DataprocCreateBatchOperator

    assert settings.dataproc is not None, "conf/environments: spark.operator dataproc needs spark.dataproc"
    batch = {
        "pyspark_batch": {"main_python_file_uri": f"{settings.dataproc.jobs}/{job}", "args": arguments},
        "runtime_config": {
            "version": "2.3",
            "properties": {"spark.driver.memory": settings.driver_memory, **settings.properties},
        },
    }
    return DataprocCreateBatchOperator(
        task_id=task_id,
        project_id=settings.dataproc.project,
        region=settings.dataproc.region,
        batch=batch,
        # No batch_id: a fixed one would re-attach every retry to the batch that failed.
        gcp_conn_id=settings.connection,
        deferrable=True,
        **options,
    )
