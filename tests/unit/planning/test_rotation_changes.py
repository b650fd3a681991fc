"""Wishes that change while a rotation runs: taken back, superseded, queued, lost and restored."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshca.pki import chain
from meshca.planning.assess import assess
from tests.fakes.caworld import bootstrapped
from tests.fakes.rotating import ROTATION, authority_of, leaf_under, live, rotated

HOUR = timedelta(hours=1)
BEFORE_COMMIT = range(ROTATION.index("CommitActive") + 1)


@pytest.mark.parametrize("count", BEFORE_COMMIT)
def test_086_102_wish_taken_back_before_the_activation_leaves_the_old_root(count: int) -> None:
    world = bootstrapped()
    old = world.active_name
    world.ask("one")
    for _ in range(count):
        world.step()
    if world.active_name != old:
        return
    marked = [root.meta.name for root in world.roots if root.activated_at and root.meta.name != old]
    world.ask("")
    plan = world.settle()
    assert world.active_name == old
    assert world.active.rotated_out_at is None
    assert authority_of(plan).root == world.active.facts.fingerprint
    assert live(world) == [old, *marked]
    assert len(world.root_secrets) == len(world.signer_secrets) == 1 + len(marked)
    if count > ROTATION.index("RecordPhase"):
        assert world.condition("RotationInProgress")[:2] == ("False", "Aborted")
        assert "phase" not in world.status["rotation"]
    world.ask("two")
    world.settle()
    assert world.active_name not in {old, *marked}


@pytest.mark.parametrize("count", BEFORE_COMMIT)
def test_087_098_106_newer_wish_supersedes_at_any_moment(count: int) -> None:
    world = bootstrapped()
    first = world.active
    world.ask("one")
    for _ in range(count):
        world.step()
    world.ask("two")
    for _ in range(60):
        assert len(live(world)) <= 3
        if world.step() is None:
            break
    world.settle()
    assert world.active.base == assess(world.snapshot()).wish.base
    leaf, signer, *crosses = leaf_under(world)
    chain.verify(leaf, [signer, *crosses], [first.certificate], at=world.now)
    chain.verify(leaf, [signer], [world.active.certificate], at=world.now)
    assert world.condition("RotationInProgress")[:2] == ("False", "Completed")
    never_used = [root for root in world.roots if root.activated_at is None]
    assert never_used == []


@pytest.mark.parametrize("count", range(len(ROTATION)))
@pytest.mark.parametrize("lost", ["configuration's status", "all status"])
def test_100_212_status_lost_at_any_moment_changes_nothing(count: int, lost: str) -> None:
    world = rotated()
    reference = (world.done.count("MakeRoot"), world.done.count("MakeSigner"), world.done.count("CrossSign"))
    world = bootstrapped()
    world.ask("one")
    for _ in range(count):
        world.step()
    world.status = {}
    if lost == "all status":
        for root in list(world.roots):
            world.change_root(root, status={})
    world.settle()
    made = (world.done.count("MakeRoot"), world.done.count("MakeSigner"), world.done.count("CrossSign"))
    assert made == reference
    assert world.active.base == assess(world.snapshot()).wish.base
    assert live(world)[-1] == world.active_name
    assert len(world.plan().bundle.roots) == 2
    states = [root.status["state"] for root in world.roots]
    assert states == ["Retiring", "Active"]


@pytest.mark.parametrize("text", ["", "two"], ids=["abort", "supersede"])
@pytest.mark.parametrize("count", BEFORE_COMMIT)
def test_103_wishes_that_change_every_few_steps_end_on_the_last(text: str, count: int) -> None:
    world = bootstrapped()
    for wish in ("one", text, "three", "", "four"):
        world.ask(wish)
        for _ in range(count):
            world.step()
        assert len(live(world)) <= 4
    for _ in range(3):
        plan = world.settle()
        if world.active.base == assess(world.snapshot()).wish.base:
            break
        # A fourth root waits until one that was in use before is pruned.
        assert world.condition("RotationInProgress")[1] == "RotationQueued"
        assert plan.due is not None
        world.now = plan.due
    world.settle()
    assert world.active.base == assess(world.snapshot()).wish.base


def test_106_three_rotations_in_a_row_are_queued_and_end_on_the_last() -> None:
    world = bootstrapped()
    first = world.active_name
    for text in ("one", "two"):
        rotated(world, text)
        world.now += HOUR
    assert len(live(world)) == 3
    world.ask("three")
    plan = world.settle()
    state, reason, message = world.condition("RotationInProgress")
    assert (state, reason) == ("False", "RotationQueued")
    assert first in message
    assert len(live(world)) == 3
    oldest = world.root(first)
    assert plan.due is not None
    assert plan.due == oldest.prunable_after
    world.now = plan.due
    world.settle()
    assert first not in live(world)
    assert len(live(world)) == 3
    assert world.active.base == assess(world.snapshot()).wish.base
    leaf, signer, *crosses = leaf_under(world)
    assert len(crosses) == 2
    for root in world.roots[:2]:
        chain.verify(leaf, [signer, *crosses], [root.certificate], at=world.now)


def test_going_back_activates_the_retired_root_again_under_a_cross_certificate_by_the_present_one() -> None:
    world = bootstrapped()
    first = world.active
    rotated(world)
    second = world.active
    kept_until = world.root(first.meta.name).prunable_after
    assert kept_until is not None
    world.now += HOUR
    world.ask("")
    seen = set()
    for _ in range(60):
        if world.step() is None:
            break
        found = world.root(first.meta.name)
        seen.add(found.status["state"])
        assert first.certificate in world.plan().bundle.roots
        assert found.prunable_after is not None
        assert found.prunable_after >= kept_until
    world.settle()
    assert seen == {"Retiring", "Published", "Active"}
    assert world.active_name == first.meta.name
    assert len(world.roots) == 2
    assert "TouchSecret" in world.done
    assert world.active.rotated_out_at is None
    leaf, signer, *crosses = leaf_under(world)
    chain.verify(leaf, [signer, *crosses], [second.certificate], at=world.now)
    chain.verify(leaf, [signer], [first.certificate], at=world.now)


def test_root_taken_back_into_use_and_given_up_again_retires_with_its_time_kept() -> None:
    world = rotated()
    first = world.roots[0]
    kept_until = first.prunable_after
    world.now += HOUR
    world.ask("")
    while "TouchSecret" not in world.done:
        world.step()
    world.now += HOUR
    world.ask("one")
    world.settle()
    again = world.root(first.meta.name)
    assert world.active_name == world.roots[1].meta.name
    assert again.status["state"] == "Retiring"
    assert again.prunable_after == kept_until
    assert again.rotated_out_at == world.now
    assert not again.reclaimed


def test_root_taken_back_and_given_up_within_a_second_is_recorded_once() -> None:
    world = rotated()
    first = world.roots[0]
    world.ask("")
    while "TouchSecret" not in world.done:
        world.step()
    world.ask("one")
    plan = world.settle()
    assert plan.due == world.now + timedelta(seconds=1)
    world.now = plan.due
    world.done.clear()
    world.settle()
    assert world.done.count("MarkRotatedOut") == 1
    assert world.root(first.meta.name).prunable_after == first.prunable_after
    assert world.active_name != first.meta.name


def test_prune_that_was_decided_wins_over_a_wish_for_that_root() -> None:
    world = rotated()
    first = world.roots[0]
    assert first.prunable_after is not None
    world.now = first.prunable_after
    while not world.root(first.meta.name).pruned:
        world.step()
    world.ask("")
    assert world.condition("RotationInProgress")[:2] == ("False", "RotationQueued")
    assert "which is being removed" in world.condition("RotationInProgress")[2]
    world.settle()
    assert first.meta.name not in live(world)
    assert world.active.base == first.base
    assert world.active.certificate != first.certificate
