"""The ledger says who is champion; the registry's alias follows it."""

from __future__ import annotations

from pipelines.champions import check_alias
from pipelines.ledger import Kind
from pipelines.registry import CHAMPION
from pipelines.scoring import score
from tests.pipelines.conftest import World


def _moves(world: World) -> list[str]:
    return [d.why for d in world.yard.ledger.decisions("parcels") if d.kind == Kind.ALIAS_MOVED]


def test_an_alias_in_its_place_is_left_alone(two_champions: World) -> None:
    assert not check_alias(two_champions.yard, two_champions.use_case)
    assert _moves(two_champions) == []


def test_an_alias_moved_outside_is_put_back_and_recorded(two_champions: World) -> None:
    world = two_champions
    world.yard.registry.set_alias("parcels", CHAMPION, 1)
    assert check_alias(world.yard, world.use_case)
    assert world.yard.registry.alias("parcels", CHAMPION) == 2
    (why,) = _moves(world)
    assert "named v1, but the ledger has v2" in why
    assert not check_alias(world.yard, world.use_case)


def test_an_alias_that_a_crash_never_set_is_set(one_champion: World) -> None:
    world = one_champion
    world.yard.registry.client.delete_registered_model_alias("parcels", CHAMPION)
    assert check_alias(world.yard, world.use_case)
    assert world.yard.registry.alias("parcels", CHAMPION) == 1
    assert "named nothing" in _moves(world)[0]


def test_each_run_that_finds_it_moved_says_so(two_champions: World) -> None:
    world = two_champions
    for run in ("one", "two"):
        world.yard.registry.set_alias("parcels", CHAMPION, 1)
        assert check_alias(world.at(run), world.use_case)
    assert len(_moves(world)) == 2


def test_before_the_first_promotion_there_is_nothing_to_check(published: World) -> None:
    assert not check_alias(published.yard, published.use_case)


def test_scoring_does_not_follow_an_alias_that_was_moved_outside(two_champions: World) -> None:
    world = two_champions
    world.yard.registry.set_alias("parcels", CHAMPION, 1)
    late = world.use_case.partition(world.days[13].next.key)
    assert world.yard.ledger.champion("parcels", late.key).version == 2  # type: ignore[union-attr]
    assert score(world.yard, world.use_case, world.days[9]).model_version == 1
    assert world.yard.registry.alias("parcels", CHAMPION) == 2
    assert len(_moves(world)) == 1
