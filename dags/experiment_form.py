"""Open an experiment, or end the one that runs, from a form: no file is changed, and the ledger keeps who asked for what.

Start it by hand. *Open* takes the fields of the section `experiment:` and refuses what the file would be refused for; from its
first partition on that was not served yet the versions share the rows. What becomes of it is told by *experiments*, whenever
labels come, until its last partition is labelled, a guard or a move of the champion ends it, or somebody chooses *end* here.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param, get_current_context, task
from wiring import USE_CASES, actor, stage_dag, step

from pipelines.use_case import Experiment, UseCase

_OPEN, _END = "open", "end"


def experiment_form(use_case: UseCase) -> DAG:
    @task.branch
    def choose() -> str:
        return "end_running" if get_current_context()["params"]["action"] == _END else "open_asked"

    @task
    def open_asked() -> Any:
        from pipelines.experiments import open_by_hand

        filled = {key: value for key in fields if (value := get_current_context()["params"][key]) is not None}
        return step(open_by_hand, use_case.name, filled, actor(), partition=None)

    @task(retries=0)
    def end_running() -> Any:
        from pipelines.experiments import end

        return step(end, use_case.name, get_current_context()["params"]["reason"] or "", actor(), partition=None)

    fields = _fields()
    params = {
        "action": Param(_OPEN, enum=[_OPEN, _END]),
        "reason": Param(None, type=["null", "string"], description="to end it: why; it is kept in the ledger"),
        **fields,
    }
    with stage_dag(use_case, "experiment_form", None, __doc__, params=params) as dag:
        choose() >> [open_asked(), end_running()]
    return dag


def _fields() -> dict[str, Param]:
    """The section's keys with its defaults; nothing has to be filled in where one is ended."""
    found = {}
    for name, told in Experiment.model_json_schema()["properties"].items():
        kind, default, kept = told.get("type", "string"), told.get("default"), ("description", "enum", "items")
        kinds = [kind] if "enum" in told else ["null", kind]
        found[name] = Param(default, type=kinds, title=name, **{key: told[key] for key in kept if key in told})
    found["challengers"].value = {"challenger": "newest"}
    return found


for each in USE_CASES:
    globals()[f"{each.name}_experiment_form"] = experiment_form(each)
