"""How far a rotation's leaves have come: counts, estimates, stragglers, the deadline."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from meshca.api.v1alpha1.scalars import format_time
from meshca.planning import rotation
from meshca.planning.assess import assess
from meshca.planning.ca import Census, Publication, Straggler
from tests.fakes.caworld import EVERYWHERE, World, bootstrapped
from tests.fakes.gates import stopped_at_gate, turning
from tests.fakes.pki import NOW

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def left(world: World, number: int, reason: str = "", **more: Any) -> Census:
    old = world.roots[0]
    stragglers = tuple(
        Straggler(f"shop/leaf-{n}", NOW + (n + 1) * HOUR, automatic=True, reason=reason)
        for n in range(min(number, 10))
    )
    fields: dict[str, Any] = {"automatic": number} | more
    return Census(by_root={old.facts.fingerprint: number}, stragglers=stragglers, **fields)


def reissuing(number: int = 20, **more: Any) -> World:
    world = bootstrapped()
    world.ask("one")
    while "CommitActive" not in world.done:
        world.step()
    world.census = left(world, number, **more)
    world.settle()
    return world


@pytest.mark.parametrize("rate", [1e-10, 5e-324])
def test_rotation_that_hardly_moves_is_estimated_to_end_with_its_leaves(rate: float) -> None:
    world = bootstrapped()
    world.ask("one", reissuePerSecond=rate)
    while "CommitActive" not in world.done:
        world.step()
    world.census = left(world, 20)
    world.settle()
    assert world.status["rotation"]["estimatedEnd"] == format_time(NOW + timedelta(days=365))


def test_099_105_leaves_left_keep_it_open_and_the_last_one_completes_it() -> None:
    world = reissuing()
    told = world.status["rotation"]
    assert turning(world) == ("True", "Reissue")
    assert (told["phase"], told["leaves"], told["reissued"], told["percent"]) == ("Reissue", 20, 0, 0)
    assert len(told["stragglers"]) == 10
    world.census = left(world, 5)
    world.settle()
    told = world.status["rotation"]
    assert (told["leaves"], told["reissued"], told["percent"]) == (20, 15, 75)
    world.census = Census()
    world.settle()
    told = world.status["rotation"]
    assert turning(world) == ("False", "Completed")
    assert (told["leaves"], told["reissued"], told["percent"]) == (20, 20, 100)
    assert "stragglers" not in told
    assert "estimatedEnd" not in told


def test_101_nothing_new_writes_nothing() -> None:
    world = reissuing()
    before = world.status
    world.done.clear()
    world.now += MINUTE
    plan = world.settle()
    assert (plan.status, world.done) == (before, [])


def test_100_leaves_read_again_after_a_start_change_no_figure() -> None:
    world = reissuing()
    before = world.status
    world.census = Census(unread=20)
    world.done.clear()
    assert (world.settle().status, world.done) == (before, [])


def test_100_leaves_that_are_not_read_yet_when_their_move_begins_are_none_that_moved() -> None:
    """A leader that ends right after the activation leaves it to the next one to say how far it is."""
    world = stopped_at_gate(publication=Publication(3, 2, ("a",), complete=True))
    world.census = Census(unread=20)
    world.publication = EVERYWHERE
    world.settle()
    assert turning(world)[1] == "Reissue"
    assert world.status["rotation"]["percent"] == 0
    world.census = left(world, 20)
    world.settle()
    assert world.status["rotation"]["percent"] == 0
    world.census = Census()
    world.settle()
    assert world.status["rotation"]["percent"] == 100


def test_224_straggler_is_listed_with_its_reason_and_the_deadline_completes_without_it() -> None:
    world = reissuing(1, reason="Denied: the ServiceAccount is gone")
    assert world.status["rotation"]["stragglers"] == ["shop/leaf-0: Denied: the ServiceAccount is gone"]
    old = world.roots[0]
    end = rotation.deadline(assess(world.snapshot()))
    assert end is not None
    assert end == old.prunable_after == NOW + 72 * HOUR + 10 * MINUTE
    world.now = NOW + 2 * HOUR
    assert world.plan().due == end
    world.now = end
    world.needed = {old.facts.fingerprint: ("shop/leaf-0",)}
    world.settle()
    state, reason, message = world.condition("RotationInProgress")
    assert (state, reason) == ("False", "Completed")
    assert "deadline passed" in message
    assert world.status["rotation"]["stragglers"]
    assert old.meta.name in [root.meta.name for root in world.roots]


def test_224_deadline_of_the_specification_completes_earlier_and_prunes_nothing() -> None:
    world = bootstrapped()
    world.ask("one", deadline="1h")
    while "CommitActive" not in world.done:
        world.step()
    world.census = left(world, 1)
    world.settle()
    assert world.status["rotation"]["deadline"] == "2030-01-01T13:00:00Z"
    world.now = NOW + HOUR
    world.settle()
    assert turning(world) == ("False", "Completed")
    assert world.roots[0].prunable_after == NOW + 72 * HOUR + 10 * MINUTE


@pytest.mark.parametrize(
    ("census", "wanted"),
    [
        ({"automatic": 20}, "2030-01-01T12:00:01Z"),
        ({"automatic": 500}, "2030-01-01T12:00:10Z"),
        ({"automatic": 1, "manual_end": NOW + 30 * HOUR}, "2030-01-02T18:00:00Z"),
    ],
)
def test_end_is_estimated_by_pace_and_by_what_only_holders_renew(census: Any, wanted: str) -> None:
    assert reissuing(20, **census).status["rotation"]["estimatedEnd"] == wanted


def test_queued_rotation_is_told_while_leaves_still_move() -> None:
    world = bootstrapped()
    for text in ("one", "two"):
        world.ask(text)
        world.settle()
        world.now += MINUTE
    world.ask("three")
    world.census = left(world, 3)
    world.status["rotation"] = world.status["rotation"] | {"phase": "Reissue"}
    state, reason, message = world.condition("RotationInProgress")
    assert (state, reason) == ("True", "Reissue")
    assert "the next one there are 3 live roots already" in message


def test_status_that_was_lost_while_leaves_move_finds_its_phase_again() -> None:
    world = reissuing()
    world.status = {}
    world.settle()
    told = world.status["rotation"]
    assert turning(world) == ("True", "Reissue")
    assert (told["from"], told["to"]) == tuple(root.meta.name for root in world.roots)
    assert told["startedAt"] == "2030-01-01T12:00:00Z"
    assert told["leaves"] == 20
