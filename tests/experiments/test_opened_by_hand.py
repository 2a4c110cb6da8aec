"""An experiment that a person opens: no section in the file, the same rules; it runs until it is over, or a person ends it."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from pipelines.commands import models, program
from pipelines.errors import PermanentError
from pipelines.experiments import end, is_any, measure, open_by_hand, open_declared
from pipelines.pages import experiment_view
from pipelines.scoring import score
from pipelines.workspace import Kind
from tests.conftest import World
from tests.experiments.test_experiment_rules import FIRST, all_rows, at, days, declared, live, moved, told, world

__all__ = ["world"]  # the fixture
ASKED = {
    "name": "v2_worth", "question": "Is v2 worth more?", "challengers": {"newer": "newest"}, "first": FIRST,
    "last": "2024-03-24", "policy": "fixed", "shares": [0.5], "minimum_effect": 0.5, "max_action_change": 1.0,
}  # fmt: skip


def opened(world: World, **values: Any) -> str:
    return open_by_hand(world.workspace, world.use_case, ASKED | values, "Ada")


def test_what_a_person_opens_is_served_without_a_section_until_its_last_partition_is_labelled(world: World) -> None:
    """As one that the file declares: the same rows, the same end."""
    assert world.use_case.experiment is None
    assert not is_any(at(world, FIRST))
    assert opened(world) == opened(world) == "v2_worth"  # once more changes nothing
    (start,) = told(world, Kind.EXPERIMENT_STARTED)
    assert (start.actor, start.evidence["by_hand"], start.effective_from) == ("Ada", True, FIRST)
    assert is_any(at(world, FIRST))
    assert open_declared(at(world, FIRST)) is None
    live(world, 10, flip=True)
    rows = all_rows(world)
    assert set(rows[rows["served"]]["variant"]) == {"champion", "newer"}
    (over,) = told(world, Kind.EXPERIMENT_ENDED)
    assert "all up to 2024-03-24 is served and labelled" in over.why
    assert not is_any(at(world, FIRST))


def test_the_first_look_without_a_section_does_not_end_it(world: World) -> None:
    opened(world)
    score(at(world, FIRST))
    done = measure(at(world, FIRST))
    assert done
    assert done.weights == {"champion": 0.5, "newer": 0.5}
    assert told(world, Kind.EXPERIMENT_ENDED) == []


def test_a_person_ends_it_and_says_why(world: World) -> None:
    opened(world)
    live(world, 2, flip=True)
    with pytest.raises(PermanentError, match="say why it is ended"):
        end(world.workspace, world.use_case, "  ", "Bob")
    done = end(world.workspace, world.use_case, "the planes of v2 are sold", "Bob")
    assert "'v2_worth' ended: Bob ended it: the planes of v2 are sold. By 2 labelled partitions" in done.why
    (over,) = told(world, Kind.EXPERIMENT_ENDED)
    assert (over.actor, over.effective_from) == ("Bob", days(world.use_case, 3)[2].key)
    score(at(world, over.effective_from))
    assert all_rows(world, over.effective_from)["variant"].isna().all()
    view = experiment_view(world.workspace, world.use_case)
    assert view
    assert "It ended: Bob ended it: the planes of v2 are sold." in view.next
    with pytest.raises(PermanentError, match="no experiment runs, so there is none to end"):
        end(world.workspace, world.use_case, "again", "Bob")
    with pytest.raises(PermanentError, match="there was one of this name, and it has ended; give this one another"):
        opened(world)


def test_one_that_the_file_declares_is_ended_by_hand_too_and_stays_ended(world: World) -> None:
    world = declared(world)
    open_declared(at(world, FIRST))
    end(world.workspace, world.use_case, "enough", "Bob")
    assert open_declared(at(world, FIRST)) == "v2_worth"
    assert measure(at(world, FIRST)) is None
    assert len(told(world, Kind.EXPERIMENT_STARTED)) == 1


def test_a_move_of_the_champion_ends_it(world: World) -> None:
    opened(world)
    moved(world, 2, "2024-03-16", Kind.PROMOTED)
    measure(at(world, FIRST))
    assert "the champion moved" in told(world, Kind.EXPERIMENT_ENDED)[0].why


def test_beside_one_that_runs_neither_the_form_nor_the_file_opens_another(world: World) -> None:
    opened(world)
    with pytest.raises(PermanentError, match=r"'other': 'v2_worth' runs, .* or end it by the form that opened it"):
        opened(world, name="other")
    with pytest.raises(PermanentError, match="'v2_worth' runs"):
        open_declared(at(declared(world, name="of_the_file"), FIRST))
    with pytest.raises(PermanentError, match=r"was changed since; .* or end it by the form that opened it"):
        opened(world, minimum_effect=0.6)
    assert len(told(world, Kind.EXPERIMENT_STARTED)) == 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"name": None}, "experiment.name: "),
        ({"minimum_effect": 0}, "experiment.minimum_effect: Input should be greater than 0"),
        ({"polcy": "fixed"}, r"experiment.polcy: unknown key.*policy"),
        ({"first": "March"}, "experiment.first, last: "),
        ({"unit": "pices"}, r"experiment.unit: 'pices' is no column of shipments.*pieces"),
        ({"challengers": {"newer": 7}}, "newer, 7, is no version that passed its gates and does not serve; there are v2"),
    ],
)
def test_what_the_file_would_be_refused_for_is_refused_and_nothing_is_written(
    world: World, wrong: dict[str, Any], words: str
) -> None:
    with pytest.raises(PermanentError, match=words):
        opened(world, **wrong)
    assert told(world, Kind.EXPERIMENT_STARTED) == []


def test_the_command_line_opens_and_ends_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "opened", lambda _: (world.workspace, world.use_case))
    lines = [f"{key}: {value}" for key, value in ASKED.items()]

    def said(*words: str, text: str = "") -> str:
        done = CliRunner().invoke(program._program, ["experiment", "parcels", *words], input=text)
        return done.output + str(done.exception or "")

    assert "--open FILE or --end WHY, one of them" in said()
    assert "-: it must be a mapping of keys" in said("--open", "-", text="v2").replace("<stdin>", "-")
    assert "'v2_worth' is open" in said("--open", "-", text="\n".join(lines))
    assert "ended it: enough" in said("--end", "enough")
    assert [d.evidence["experiment"] for d in told(world, Kind.EXPERIMENT_ENDED)] == ["v2_worth"]
