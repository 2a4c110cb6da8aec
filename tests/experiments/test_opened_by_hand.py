"""An experiment that a person opens: no section in the file, the same rules; it runs until it is over, or a person ends it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from pipelines.commands import models, program
from pipelines.errors import PermanentError, TransientError
from pipelines.experiments import end, is_any, measure, measuring, open_by_hand, open_declared, opening, plan_of
from pipelines.experiments.policies import Next
from pipelines.pages import experiment_page, experiment_view
from pipelines.pages.view import decisions_of_run
from pipelines.scoring import score
from pipelines.workspace import Kind
from tests.conftest import World
from tests.experiments.test_experiment_rules import FIRST, all_rows, at, days, declared, live, moved, told, world

__all__ = ["world"]  # the fixture
STAGES = ("experiment_form", "experiments")
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
    view = experiment_view(world.workspace, world.use_case)
    assert "It ended: Bob ended it: enough." in experiment_page("Late", "parcels", view)


def test_one_that_was_ended_before_it_began_stands_in_no_others_way(world: World) -> None:
    """A wrong date, ended, opened again with the right one: the second one serves on through the days of the first."""
    opened(world, name="wrong_date", first="2024-03-17")
    end(world.workspace, world.use_case, "it should begin on the 15th", "Ada")
    opened(world)
    decisions = world.workspace.ledger.decisions("parcels")
    plans = [plan_of(decisions, day.key) for day in days(world.use_case, 10)]
    assert [plan.name if plan else None for plan in plans] == ["v2_worth"] * 10


def test_what_is_decided_after_another_has_ended_it_is_not_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: somebody ends it between a look and what the look writes; and opens another one between asking and writing."""
    opened(world, policy="winner", shares=[0.3])
    live(world, 2, flip=True)
    weigh = measuring._weighed

    def ended_meanwhile(look: Any) -> Any:
        end(world.workspace, world.use_case, "now", "Bob")
        return weigh(look)

    with monkeypatch.context() as patched:
        patched.setattr(measuring, "_weighed", ended_meanwhile)
        patched.setattr(measuring, "next_weights", lambda *_: Next({"champion": 0.1, "newer": 0.9}, "planted"))
        measure(at(world, FIRST))
    assert told(world, Kind.EXPERIMENT_WEIGHTS) == []
    assert plan_of(world.workspace.ledger.decisions("parcels"), "2024-03-20") is None
    check = opening._versions

    def opened_meanwhile(run: Any, *words: Any) -> Any:
        monkeypatch.setattr(opening, "_versions", check)
        opened(world, name="first_one", first="2024-03-17")
        return check(run, *words)

    monkeypatch.setattr(opening, "_versions", opened_meanwhile)
    with pytest.raises(TransientError, match="one was opened meanwhile"):
        opened(world, name="second_one", first="2024-03-17")
    names = [d.evidence["experiment"] for d in told(world, Kind.EXPERIMENT_STARTED)]
    assert names == ["v2_worth", "first_one"]


def test_who_ends_what_another_has_ended_meanwhile_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(world)
    look = measuring._look

    def slow(*about: Any) -> Any:
        monkeypatch.setattr(measuring, "_look", look)
        end(world.workspace, world.use_case, "first", "Ada")
        return look(*about)

    monkeypatch.setattr(measuring, "_look", slow)
    with pytest.raises(PermanentError, match="it ended meanwhile, for another reason"):
        end(world.workspace, world.use_case, "second", "Bob")
    assert [d.actor for d in told(world, Kind.EXPERIMENT_ENDED)] == ["Ada"]


def test_it_can_be_ended_though_its_figures_cannot_be_told(world: World) -> None:
    """The section `value` was taken out of the file while money is counted."""
    opened(world)
    live(world, 1, flip=True)
    poor = world.use_case.model_copy(update={"value": None})
    with pytest.raises(PermanentError, match="put the section `value` back"):
        measure(at(replace(world, use_case=poor), FIRST))
    done = end(world.workspace, poor, "enough", "Bob")
    assert "What it showed cannot be told: parcels: its experiment counts money" in done.why
    assert not is_any(at(world, FIRST))


def test_the_run_of_the_form_shows_what_it_opened(world: World) -> None:
    opened(world)
    found = {stage: decisions_of_run(world.workspace, world.use_case, stage, world.workspace.run) for stage in STAGES}
    assert {stage: [d.kind for d in made] for stage, made in found.items()} == {
        "experiment_form": [Kind.EXPERIMENT_STARTED],
        "experiments": [],
    }


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
