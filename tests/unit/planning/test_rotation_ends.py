"""How a rotation's end is told, and two roots that signed each other being pruned at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from meshca.planning.ca import Census, Straggler
from tests.fakes.caworld import World, bootstrapped
from tests.fakes.pki import NOW
from tests.fakes.planning import HOUR

if TYPE_CHECKING:
    from meshca.planning.ca import Root


def moving() -> tuple[World, Root]:
    """Return a world whose leaves are moving to a second root, and its first root."""
    world = bootstrapped()
    first = world.active
    straggler = Straggler("shop/web", NOW + 24 * HOUR, automatic=False, reason="waits for its holder")
    world.ask("second")
    world.census = Census(by_root={first.facts.fingerprint: 1}, stragglers=(straggler,))
    world.settle()
    world.settle()
    assert world.condition("RotationInProgress")[1] == "Reissue"
    assert world.status["rotation"]["stragglers"]
    return world, first


def force(world: World, root: Root) -> None:
    world.change_root(world.root(root.meta.name), prune_now=root.facts.fingerprint)
    world.settle()


def test_the_first_word_of_the_end_is_that_every_leaf_has_moved() -> None:
    world, _ = moving()
    world.census = Census()
    assert world.plan().status["rotation"]["phase"] == "Complete"
    assert "every leaf has moved" in world.condition("RotationInProgress")[2]
    plan = world.settle()
    assert plan.status == world.plan().status, "said once"


def test_the_deadline_leaves_its_stragglers_named() -> None:
    world, first = moving()
    assert world.root(first.meta.name).prunable_after is not None
    world.now += 73 * HOUR
    for _ in range(2):
        world.settle()
        assert world.condition("RotationInProgress")[:2] == ("False", "Completed")
        assert "the deadline passed" in world.condition("RotationInProgress")[2]
        assert world.status["rotation"]["stragglers"] == ["shop/web: waits for its holder"]


def test_a_prune_that_cannot_be_forced_waits_no_longer_than_without_it() -> None:
    world, first = moving()
    world.census = Census()
    world.settle()
    second = world.active
    world.now += HOUR
    world.ask("")
    world.settle()
    force(world, second)
    kept = world.root(second.meta.name).prunable_after
    assert kept is not None
    due = world.plan().due
    assert due is not None
    assert due <= kept
    world.now = kept
    world.settle()
    assert [root.meta.name for root in world.roots] == [first.meta.name]


def test_a_prune_that_is_asked_of_the_active_root_is_refused() -> None:
    world = bootstrapped()
    force(world, world.active)
    assert "it is active: rotate first" in world.active.status["conditions"][0]["message"]


def test_roots_that_signed_each_other_are_pruned_when_both_are_asked_for() -> None:
    world, first = moving()
    world.census = Census()
    world.settle()
    second = world.active
    world.now += HOUR
    world.ask("")
    world.settle()
    assert world.active_name == first.meta.name, "back under the first, which the second has signed"
    force(world, second)
    assert first.meta.name in world.root(second.meta.name).status["conditions"][0]["message"]
    world.now += HOUR
    world.ask("third")
    world.settle()
    force(world, first)
    assert [root.meta.name for root in world.roots] == [world.active_name]


def test_the_root_that_a_rotation_moves_to_is_not_pruned() -> None:
    world = bootstrapped()
    world.publication = replace(world.publication, complete=False)
    world.ask("second")
    world.settle()
    target = next(root for root in world.roots if root.meta.name != world.active_name)
    force(world, target)
    assert world.root(target.meta.name).status["state"] == "Published"
