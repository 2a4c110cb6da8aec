"""What a stage has missed: its input is there and its output is not, as after a pause of its DAG, which gets no events then."""

from __future__ import annotations

from collections import defaultdict

from pipelines.features import unready
from pipelines.labels import unlabelled
from pipelines.monitoring import latest
from pipelines.use_case import Partition, UseCase, features_table, labels_table, predictions_table, source_table
from pipelines.workspace import StageRun, Workspace


def missed(workspace: Workspace, use_case: UseCase) -> dict[str, list[str]]:
    """By input (a source, `features` or `predictions`), the partitions of which its stage has to be told again.

    Asked of the tables, so it may name what is under way; who is told twice finds nothing to do.
    """
    found: defaultdict[str, set[str]] = defaultdict(set)
    found[use_case.features.entity] |= _unbuilt(workspace, use_case)
    found["features"] |= _unserved(workspace, use_case)
    found[use_case.label.source] |= _unlabelled(workspace, use_case)
    found["predictions"] |= _unmeasured(workspace, use_case)
    return {noun: sorted(keys) for noun, keys in found.items() if keys}


def _unbuilt(workspace: Workspace, use_case: UseCase) -> set[str]:
    """Whose inputs are there, and whose features are not, or stand on others and were not served yet."""
    entity = workspace.lake.partitions(source_table(use_case, use_case.features.entity))
    served, built = (workspace.lake.partitions(table(use_case)) for table in (predictions_table, features_table))
    # Before the first champion nothing is served: what models were trained on stays as it was.
    champions = workspace.ledger.champions(use_case.name, built)
    asked = [key for key, rows in entity.items() if rows and (key not in built or (key in champions and key not in served))]
    return {key for key in asked if unready(StageRun(workspace, use_case, use_case.partition(key))) is None}


def _unserved(workspace: Workspace, use_case: UseCase) -> set[str]:
    served, built = (workspace.lake.partitions(table(use_case)) for table in (predictions_table, features_table))
    return set(workspace.ledger.champions(use_case.name, built)) - set(served)


def _unlabelled(workspace: Workspace, use_case: UseCase) -> set[str]:
    """Whose outcomes are complete, or were corrected since."""
    keys = sorted(workspace.lake.partitions(source_table(use_case, use_case.label.source)))
    return set(unlabelled(StageRun(workspace, use_case, use_case.period(f"{keys[0]}--{keys[-1]}")))) if keys else set()


def _unmeasured(workspace: Workspace, use_case: UseCase) -> set[str]:
    """The last served partition of each window that is over and was never measured, or not since it has all its labels."""
    labelled, seen, now = workspace.lake.partitions(labels_table(use_case)), latest(workspace, use_case), workspace.clock.now()
    windows: defaultdict[Partition, list[str]] = defaultdict(list)
    for key in workspace.lake.partitions(predictions_table(use_case)):
        windows[Partition.of(use_case.partition(key).start, use_case.window)].append(key)

    def is_missed(window: Partition, served: list[str]) -> bool:
        over = window.ends_at(use_case.timezone) <= now or len(served) == len(window.within(use_case.grain))
        measured = seen.get(window.key)
        return over and (measured is None or (measured.performance is None and set(served) <= set(labelled)))

    return {max(served) for window, served in windows.items() if is_missed(window, served)}
