"""The ledger says who is champion; the registry's alias follows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pipelines.promotion import rollback
from pipelines.scoring import score
from pipelines.workspace import StageRun
from pipelines.workspace.alias import check_alias
from pipelines.workspace.ledger import Kind
from pipelines.workspace.registry import CHAMPION
from tests.conftest import World


def _moves(world: World) -> list[str]:
    return [d.why for d in world.workspace.ledger.decisions("parcels") if d.kind == Kind.ALIAS_MOVED]


def test_an_alias_in_its_place_is_left_alone(two_champions: World) -> None:
    assert not check_alias(two_champions.workspace, two_champions.use_case)
    assert _moves(two_champions) == []


def test_an_alias_moved_outside_is_put_back_and_recorded(two_champions: World) -> None:
    world = two_champions
    world.workspace.registry.set_alias("parcels", CHAMPION, 1)
    assert check_alias(world.workspace, world.use_case)
    assert world.workspace.registry.alias("parcels", CHAMPION) == 2
    (why,) = _moves(world)
    assert "named v1, but the ledger has v2" in why
    assert not check_alias(world.workspace, world.use_case)


def test_an_alias_that_a_crash_never_set_is_set(one_champion: World) -> None:
    world = one_champion
    world.workspace.registry.client.delete_registered_model_alias("parcels", CHAMPION)
    assert check_alias(world.workspace, world.use_case)
    assert world.workspace.registry.alias("parcels", CHAMPION) == 1
    assert "named nothing" in _moves(world)[0]


def test_each_run_that_finds_it_moved_says_so(two_champions: World) -> None:
    world = two_champions
    for run in ("one", "two"):
        world.workspace.registry.set_alias("parcels", CHAMPION, 1)
        assert check_alias(world.at(run), world.use_case)
    assert len(_moves(world)) == 2


def test_before_the_first_promotion_there_is_nothing_to_check(published: World) -> None:
    assert not check_alias(published.workspace, published.use_case)


def test_scoring_does_not_follow_an_alias_that_was_moved_outside(two_champions: World) -> None:
    world = two_champions
    world.workspace.registry.set_alias("parcels", CHAMPION, 1)
    late = world.use_case.partition(world.days[13].next.key)
    assert world.workspace.ledger.champion("parcels", late.key).version == 2  # type: ignore[union-attr]
    assert score(StageRun(world.workspace, world.use_case, world.days[9])).model_version == 1
    assert world.workspace.registry.alias("parcels", CHAMPION) == 2
    assert len(_moves(world)) == 1


def _third_version(world: World) -> int:
    """A registered version that was never champion: v2's model once more."""
    client = world.workspace.registry.client
    second = client.get_model_version("parcels", "2")
    tags = {k: v for k, v in second.tags.items() if k != "trainyard.model_uri"}
    return int(client.create_model_version("parcels", second.source, run_id=second.run_id, tags=tags).version)


def test_by_policy_a_moved_alias_is_accepted_for_what_is_not_scored_yet(two_champions: World) -> None:
    world = two_champions
    accepting = world.use_case.model_copy(update={"alias_moved": "accept"})
    score(StageRun(world.workspace, accepting, world.days[8]))
    world.workspace.registry.set_alias("parcels", CHAMPION, _third_version(world))
    assert check_alias(world.workspace, accepting)
    champion = world.workspace.ledger.champion("parcels")
    assert champion is not None
    assert champion.version == 3
    assert "No gate has judged this move" in champion.why
    assert champion.effective_from > world.days[8].key
    assert world.workspace.registry.alias("parcels", CHAMPION) == 3
    assert not check_alias(world.workspace, accepting)


def _while_reading(world: World, monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], Any]) -> None:
    """Planted: what another process does, step by step, each before one reading of the alias."""
    left, read = list(steps), world.workspace.registry.alias

    def alias(*asked: str) -> int | None:
        if left:
            left.pop(0)()
        return read(*asked)

    monkeypatch.setattr(world.workspace.registry, "alias", alias)
    monkeypatch.setattr("pipelines.workspace.alias._PAUSE", 0.0)


@pytest.mark.parametrize("policy", ["put_back", "accept"])
def test_a_move_between_ledger_and_alias_is_no_tampering(
    policy: str, two_champions: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, use_case = two_champions, two_champions.use_case.model_copy(update={"alias_moved": policy})
    _while_reading(world, monkeypatch, lambda: rollback(world.at("other"), use_case, 1, "complaints", "ada"))
    assert not check_alias(world.workspace, use_case)
    champion = world.workspace.ledger.champion("parcels")
    assert champion
    assert (champion.version, champion.decision.partition("/")[0]) == (1, Kind.ROLLED_BACK)
    assert world.workspace.registry.alias("parcels", CHAMPION) == 1
    assert _moves(world) == []


def test_a_move_that_has_not_come_to_its_alias_yet_is_waited_for(two_champions: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row of v2 is there, and its alias is set while somebody looks: nobody left it behind."""
    world, registry = two_champions, two_champions.workspace.registry
    registry.set_alias("parcels", CHAMPION, 1)
    _while_reading(world, monkeypatch, lambda: None, lambda: registry.set_alias("parcels", CHAMPION, 2))
    assert not check_alias(world.workspace, world.use_case)
    assert _moves(world) == []


def test_an_alias_is_not_put_back_over_a_move_that_came_meanwhile(
    two_champions: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: v2's alias was taken away; while it is put back, v2 gives way to v1."""
    world, registry = two_champions, two_champions.workspace.registry
    registry.delete_alias("parcels", CHAMPION)
    put = registry.set_alias

    def set_alias(*asked: Any) -> None:
        monkeypatch.setattr(registry, "set_alias", put)
        rollback(world.at("other"), world.use_case, 1, "complaints", "ada")
        put(*asked)

    monkeypatch.setattr(registry, "set_alias", set_alias)
    assert check_alias(world.workspace, world.use_case)
    assert registry.alias("parcels", CHAMPION) == 1


def test_a_version_that_cannot_serve_is_put_back_under_either_policy(two_champions: World) -> None:
    """Planted: the model behind the alias is not the one that was registered."""
    world = two_champions
    accepting = world.use_case.model_copy(update={"alias_moved": "accept"})
    third = _third_version(world)
    world.workspace.registry.client.set_model_version_tag("parcels", str(third), "trainyard.sha256", "0" * 64)
    world.workspace.registry.set_alias("parcels", CHAMPION, third)
    assert check_alias(world.workspace, accepting)
    assert world.workspace.registry.alias("parcels", CHAMPION) == 2
    assert "cannot serve" in _moves(world)[0]


def test_an_alias_that_a_crash_left_behind_is_put_back_under_either_policy(two_champions: World) -> None:
    """The ledger has v2; the crash came before the alias, which still names v1."""
    world = two_champions
    world.workspace.registry.set_alias("parcels", CHAMPION, 1)
    assert check_alias(world.workspace, world.use_case.model_copy(update={"alias_moved": "accept"}))
    assert world.workspace.registry.alias("parcels", CHAMPION) == 2
