"""Every gate, and its verdict. Unknown, missing or crashed evidence is a FAIL, never a pass.

A gate is one module: `judge(evidence, settings)`, a pure function to a verdict, and, where arrays do not say enough,
`measure(challenger)`, whose result it finds in `evidence.measured`. To add one: write the module, name it in `_GATES`,
its settings in `pipelines/use_case`, and plant its defect in `tests/gates/test_<gate>.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pipelines.gates import (
    after_promotion,
    beats_champion,
    beats_simple,
    calibration,
    economics,
    evaluation_set,
    inference,
    overfit,
    plausible,
    quality,
    slices,
    stability,
)
from pipelines.gates.evidence import Challenger, Evidence
from pipelines.results import Verdict, guarded
from pipelines.use_case import Gates

Gate = Callable[[Evidence, Gates], Verdict]
Measure = Callable[[Challenger], object]

# In the order in which they are shown.
_GATES = (
    evaluation_set, quality, plausible, beats_simple, overfit, calibration, beats_champion, slices, economics, stability,
    inference, after_promotion,
)  # fmt: skip
_BY_NAME = {module.__name__.rpartition(".")[2]: module for module in _GATES}
GATES: dict[str, Gate] = {name: module.judge for name, module in _BY_NAME.items()}
MEASURES: dict[str, Measure] = {name: module.measure for name, module in _BY_NAME.items() if hasattr(module, "measure")}


def warm_up(gates: Iterable[str] = tuple(_BY_NAME)) -> None:
    """Start the processes in which these gates try things, in the background."""
    for module in map(_BY_NAME.__getitem__, gates):
        if hasattr(module, "PROCESSES"):
            module.PROCESSES.warm_up()


def details(evidence: Evidence, settings: Gates) -> dict[str, dict[str, object]]:
    """By gate, all that its verdict stands on where the verdict has the worst of it only; for a file."""
    found = {name: module.whole(evidence, settings) for name, module in _BY_NAME.items() if hasattr(module, "whole")}
    return {name: each for name, each in found.items() if each}


def judge(evidence: Evidence, settings: Gates, gates: dict[str, Gate] | None = None) -> list[Verdict]:
    """Every gate's verdict. A gate that raises has failed, and says with what."""
    return [guarded(name, gate, evidence, settings) for name, gate in (gates or GATES).items()]
