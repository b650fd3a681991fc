"""Roots that somebody wants gone: deletion of a CARoot and prune-now, and what stands against each."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from meshca.planning import pruning
from meshca.planning.assess import assess
from meshca.planning.authority import Authority
from meshca.planning.ca import Census
from tests.fakes.caworld import bootstrapped
from tests.fakes.pki import NOW
from tests.fakes.retired import ask_deletion, message_of, names_of, rotated

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
KEPT = 72 * HOUR + 10 * MINUTE


def test_131_active_root_and_one_without_a_time_are_never_pruned() -> None:
    world, old = rotated()
    world.change_root(old, rotated_out_at=NOW, prunable_after=NOW + KEPT)
    world.now = NOW + 8000 * HOUR
    found = assess(world.snapshot())
    unknown = replace(old, prunable_after=None)
    assert pruning.removal(found, unknown) is None
    assert pruning.kept_until(unknown) == "kept"
    assert found.root is not None
    assert pruning.removal(found, found.root) is None


def test_deletion_of_a_retired_root_that_nobody_needs_is_done_at_once() -> None:
    world, old = rotated()
    world.now += HOUR
    ask_deletion(world, old)
    world.settle()
    assert names_of(world) == [world.active_name]
    assert "DeleteRoot" not in world.done


def test_second_caroot_of_a_certificate_goes_without_its_keys() -> None:
    world = bootstrapped()
    active = world.active
    twin = replace(active, meta=replace(active.meta, name="default-restored"), activated_at=None, status={})
    world.roots.append(twin)
    keys = [*world.root_secrets, *world.signer_secrets]
    plan = world.settle()
    assert names_of(world) == [active.meta.name]
    assert [*world.root_secrets, *world.signer_secrets] == keys
    assert isinstance(plan.authority, Authority)


def test_deletion_waits_for_who_needs_the_root_and_names_them() -> None:
    world, old = rotated()
    world.now += HOUR
    world.needed = {old.facts.fingerprint: ("shop/a", "shop/b")}
    ask_deletion(world, old)
    while world.step() is not None:
        pass
    assert "needed by shop/a, shop/b" in message_of(world, old)
    assert world.root(old.meta.name).status["state"] == "Retiring"
    world.needed, world.evidence = {}, ()
    world.settle()
    assert names_of(world) == [world.active_name]


def test_deletion_of_the_active_root_is_refused_and_done_after_a_rotation() -> None:
    world = bootstrapped()
    old = world.active
    ask_deletion(world, old)
    plan = world.settle()
    assert isinstance(plan.authority, Authority)
    assert plan.authority.root == old.facts.fingerprint
    assert "rotate first" in message_of(world, old)
    world.ask("one")
    world.settle()
    world.now += HOUR
    world.settle()
    assert old.meta.name not in names_of(world)
    assert world.active_name != old.meta.name


def test_deletion_of_a_root_that_is_being_prepared_makes_another() -> None:
    world = bootstrapped()
    world.ask("one")
    while "MakeSigner" not in world.done:
        world.step()
    dropped = world.roots[1]
    ask_deletion(world, dropped)
    world.settle()
    assert world.active.base == dropped.base
    assert world.active.certificate != dropped.certificate
    assert dropped.meta.name not in names_of(world)


@pytest.mark.parametrize(
    ("mark", "goes"), [("full", True), ("short", False), ("other", False), ("upper", False)]
)
def test_prune_now_is_for_the_full_fingerprint_only_and_asks_nobody(mark: str, goes: bool) -> None:
    world, old = rotated()
    fingerprint = old.facts.fingerprint
    marks = {"full": fingerprint, "short": fingerprint[:10], "other": "0" * 64, "upper": fingerprint.upper()}
    world.needed = {fingerprint: ("shop/a",)}
    world.census = Census(by_root={fingerprint: 1})
    world.change_root(old, prune_now=marks[mark])
    plan = world.settle()
    assert (old.meta.name not in names_of(world)) is goes
    assert (old.certificate not in plan.bundle.roots) is goes
    assert "GatherEvidence" not in world.done


def test_prune_now_never_takes_the_active_root() -> None:
    world = bootstrapped()
    world.change_root(world.active, prune_now=world.active.facts.fingerprint)
    world.settle()
    assert "rotate first" in message_of(world, world.active)


def test_prune_now_of_the_active_root_is_forgotten_when_another_takes_its_place() -> None:
    world = bootstrapped()
    first = world.active
    world.change_root(first, prune_now=first.facts.fingerprint)
    world.ask("one")
    world.settle()
    assert world.active_name != first.meta.name
    assert world.root(first.meta.name).prune_now == ""
    assert first.meta.name in names_of(world)


def test_prune_now_is_refused_while_an_older_trusted_root_has_signed_that_root() -> None:
    world, first = rotated()
    second = world.active
    world.now += HOUR
    world.ask("two")
    world.settle()
    world.change_root(world.root(second.meta.name), prune_now=second.facts.fingerprint)
    world.settle()
    assert second.meta.name in names_of(world)
    assert first.meta.name in message_of(world, second)
    assert "prune that first" in message_of(world, second)
    world.change_root(world.root(first.meta.name), prune_now=first.facts.fingerprint)
    world.settle()
    assert names_of(world) == [world.active_name]


def test_root_that_is_taken_back_into_use_is_not_pruned_though_it_was_asked_for() -> None:
    world, old = rotated()
    world.now += HOUR
    world.change_root(old, prune_now=old.facts.fingerprint)
    world.ask("")
    world.settle()
    assert world.active_name == old.meta.name
    assert len(world.roots) == 2
    assert "rotate first" in message_of(world, old)


def test_deleted_root_waits_until_replaced_leaves_have_reached_their_holders() -> None:
    world, old = rotated()
    ask_deletion(world, old)
    world.now = NOW + timedelta(minutes=10) - SECOND
    plan = world.settle()
    assert old.meta.name in names_of(world)
    assert "load the new ones" in message_of(world, old)
    assert plan.due == NOW + timedelta(minutes=10)
    world.now = NOW + timedelta(minutes=10)
    world.settle()
    assert old.meta.name not in names_of(world)


def test_deleted_root_waits_while_a_rotation_is_in_progress() -> None:
    world, old = rotated()
    world.now = NOW + timedelta(hours=1)
    world.publication = replace(world.publication, current=2, behind=("slow",))
    world.ask("two")
    world.settle()
    ask_deletion(world, old)
    world.settle()
    assert old.meta.name in names_of(world)
    assert "a rotation is in progress" in message_of(world, old)
