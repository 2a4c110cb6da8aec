"""Airflow's scheduler, with the libraries of the tasks loaded before it forks them.

The LocalExecutor forks a process per task from the scheduler. What is imported here is there in each of them, at no
further cost: Great Expectations alone takes ten seconds to import, Evidently as long. Nothing is run, only imported, so
no thread or connection is carried over a fork. For one machine; a cluster's workers import what they need.
"""

from __future__ import annotations

import importlib
import sys
import warnings

LIBRARIES = (
    "pandas",
    "pyarrow.parquet",
    "deltalake",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.pipeline",
    "great_expectations",
    "great_expectations.expectations",
    "great_expectations.render.renderer.page_renderer",
    "great_expectations.render.view",
    "mlflow",
    "mlflow.sklearn",
    "mlflow.tracking",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "skops.io",
    "optuna",
    "evidently",
    "evidently.presets",
    # Airflow imports it, and an HTTP library with it, for every DAG file that names an asset.
    "airflow.providers.google.assets.gcs",
)


def main() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for library in LIBRARIES:
            importlib.import_module(library)
    from airflow.__main__ import main as airflow

    sys.argv = ["airflow", "scheduler", *sys.argv[1:]]
    airflow()


if __name__ == "__main__":
    main()
