"""Which mirrored roots a secondary keeps, whom it follows, and how it changes sides."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from meshca.api.v1alpha1.conditions import Reason
from meshca.planning.authority import Authority
from meshca.planning.situation import Problem
from tests.fakes import pki
from tests.fakes.caworld import bootstrapped
from tests.fakes.secondworld import Secondary, another_primary, following, publish, reason, rotate, spec_of

if TYPE_CHECKING:
    from tests.fakes.caworld import World

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
AWAY = Problem(Reason.PRIMARY_UNREACHABLE, "the primary cannot be reached: gone")


def test_a_restored_primary_changes_nothing_until_it_is_confirmed() -> None:
    world = following()
    rotate(world)
    world.follow()
    active, roots = world.active_name, set(world.plan().bundle.fingerprints)
    sequence = world.primary.status["bundle"]["sequence"]
    old = next(root for root in world.primary.roots if root is not world.primary.active)
    facts = world.facts()
    back = replace(
        facts,
        sequence=sequence - 5,
        active_root=old.facts.fingerprint,
        roots=tuple(
            replace(item, state="Active") for item in facts.roots if item.fingerprint != facts.active_root
        ),
    )
    world.look(facts=back)
    world.done.clear()
    world.settle()
    assert reason(world, "Degraded") == ("True", "PrimaryWentBack")
    assert f'meshca.dev/accept-sequence: "{sequence - 5}"' in world.condition("Degraded")[2]
    assert (world.done, world.active_name) == ([], active)
    assert world.status["federation"]["sequence"] == sequence
    world.accept_sequence = str(sequence - 4)
    world.settle()
    assert world.active_name == active
    world.accept_sequence = str(sequence - 5)
    world.settle()
    world.pass_time(6 * MINUTE)
    world.settle()
    assert world.status["federation"]["sequence"] == sequence - 5
    assert reason(world, "Degraded") == ("False", "AsExpected")
    # It goes back to the root that is active there, and drops none that its own leaves may need.
    assert world.active.facts.fingerprint == old.facts.fingerprint
    assert set(world.plan().bundle.fingerprints) == roots


def test_a_replaced_primary_changes_nothing_until_it_is_invited() -> None:
    world = following()
    active = world.active_name
    world.primary = another_primary()
    world.look()
    world.settle()
    assert reason(world, "Degraded") == ("True", "PrimaryMismatch")
    assert "the primary was replaced" in world.condition("Degraded")[2]
    assert (world.done, world.active_name) == ([], active)
    assert world.plan().bundle.fingerprints == (world.active.facts.fingerprint,)
    world.spec = spec_of(world.primary)
    world.generation += 1
    world.follow()
    # Without cross-certificates the new root is trusted for five minutes before it is used.
    assert world.active_name == active
    world.pass_time(5 * MINUTE)
    world.follow()
    assert world.active.facts.fingerprint == world.primary.active.facts.fingerprint
    assert active in {root.meta.name for root in world.roots}


def test_the_same_roots_under_another_uid_are_no_other_primary() -> None:
    world = following()
    world.primary.uid = "99999999-2222-4333-8444-555555555555"
    world.follow()
    assert reason(world, "Degraded") == ("False", "AsExpected")
    assert world.status["federation"]["configurationID"] == world.primary.uid


def test_a_secondary_that_was_away_for_two_rotations_follows_at_once() -> None:
    world = following()
    first = world.active_name
    rotate(world, "one")
    world.primary.now += 4 * pki.DAY
    world.primary.settle()
    rotate(world, "two")
    world.primary.now += 4 * pki.DAY
    world.primary.settle()
    world.now = world.primary.now
    assert len(world.facts().roots) == 1
    world.follow()
    assert world.active_name == first
    world.pass_time(5 * MINUTE)
    world.follow()
    assert world.active.facts.fingerprint == world.primary.active.facts.fingerprint
    # The root that the primary has no more stays until no leaf of this cluster can need it.
    assert world.root(first).status["state"] == "Retiring"
    world.pass_time(72 * HOUR + 10 * MINUTE)
    world.follow()
    assert first not in {root.meta.name for root in world.roots}


@pytest.mark.parametrize("told", ["away", "listed", "unknown"])
def test_a_mirrored_root_stays_while_the_primary_does_not_say_that_it_is_gone(told: str) -> None:
    world = following()
    first = world.active_name
    rotate(world)
    world.follow()
    world.pass_time(100 * pki.DAY)
    if told == "listed":
        world.look()
    elif told == "away":
        world.look(AWAY)
    else:
        world.view = None
    world.settle()
    assert world.root(first).status["state"] == "Retiring"
    assert "to be removed" not in world.root(first).status["conditions"][0]["message"]


def test_a_mirrored_root_that_was_never_used_goes_with_the_primarys_word() -> None:
    world = following()
    publish(world)
    world.follow()
    assert len(world.roots) == 2
    world.primary.ask("")
    world.primary.settle()
    world.follow()
    assert [root.meta.name for root in world.roots] == [world.active_name]


def test_a_mirrored_root_that_leaves_need_stays_although_the_primary_has_it_no_more() -> None:
    world = following()
    first = world.active_name
    needed = world.root(first).facts.fingerprint
    rotate(world)
    world.follow()
    world.needed = {needed: ("shop/web",)}
    world.primary.now += 100 * pki.DAY
    world.primary.settle()
    world.pass_time(100 * pki.DAY)
    world.follow()
    assert world.root(first).status["state"] == "Retiring"
    assert "needed by shop/web" in world.root(first).status["conditions"][0]["message"]
    world.needed = {}
    world.follow()
    assert first not in {root.meta.name for root in world.roots}


@pytest.mark.parametrize("how", ["deleting", "prune-now"])
def test_a_mirrored_root_that_the_primary_has_is_not_removed_here(how: str) -> None:
    world = following()
    first = world.active_name
    rotate(world)
    world.follow()
    root = world.root(first)
    if how == "deleting":
        world.change_root(root, meta=replace(root.meta, deleting=True))
    else:
        world.change_root(root, prune_now=root.facts.fingerprint)
    world.follow()
    assert "prune it there first" in world.root(first).status["conditions"][0]["message"]


def test_a_mirrored_root_that_somebody_deletes_is_followed_all_the_same() -> None:
    """Its object stays, because the primary has the root: waiting until it is gone would never end."""
    world = following()
    first = world.active_name
    rotate(world)
    world.look()
    while len(world.roots) < 2:
        world.step()
    (new,) = (root for root in world.roots if root.meta.name != first)
    world.change_root(new, meta=replace(new.meta, deleting=True))
    world.follow()
    assert world.active_name == new.meta.name
    assert reason(world, "Ready") == ("True", "Initialised")
    assert world.root(new.meta.name).status["state"] == "Active"
    rotate(world, "two")
    world.follow()
    assert world.active_name not in {first, new.meta.name}


def former_primary(other: World) -> Secondary:
    """Return a CA of its own that was just told to follow another."""
    former = bootstrapped()
    world = Secondary(primary=other, spec=former.spec, uid=former.uid)
    world.status, world.accepted = former.status, former.accepted
    world.roots, world.root_secrets = former.roots, former.root_secrets
    world.signer_secrets = former.signer_secrets
    world.spec = spec_of(other)
    world.generation += 1
    return world


@pytest.mark.parametrize("lost", ["status", "status and signer"])
def test_047_a_former_primary_that_loses_its_status_goes_on_and_follows_all_the_same(lost: str) -> None:
    other = another_primary()
    world = former_primary(other)
    first = world.active_name
    world.status = {}
    if lost != "status":
        world.signer_secrets = []
    world.settle()
    assert world.active_name == first
    assert reason(world, "Ready") == ("True", "Initialised")
    world.follow()
    world.pass_time(5 * MINUTE)
    world.follow()
    assert world.active.facts.fingerprint == other.active.facts.fingerprint


def test_047_a_former_primary_becomes_a_secondary() -> None:
    other = another_primary()
    world = former_primary(other)
    first = world.active_name
    # Before it has met its new primary it goes on as it is, renewals included.
    world.pass_time(200 * pki.DAY)
    world.settle()
    assert "MakeSigner" in world.done
    assert reason(world, "Ready") == ("True", "Initialised")
    world.follow()
    assert world.active_name == first
    assert len(world.plan().bundle.roots) == 2
    world.pass_time(5 * MINUTE)
    world.follow()
    assert world.active.facts.fingerprint == other.active.facts.fingerprint
    assert world.status["trustDomain"] == "example.org"
    assert world.root(first).status["state"] == "Retiring"
    assert world.root_secrets, "its key stays as long as its root"
    world.pass_time(72 * HOUR + 10 * MINUTE)
    world.follow()
    assert [root.meta.name for root in world.roots] == [world.active_name]
    assert world.root_secrets == []


def test_a_root_of_its_own_that_was_never_used_is_discarded_by_a_former_primary() -> None:
    former = bootstrapped()
    former.ask("one")
    while "RecordRoot" not in former.done:
        former.step()
    other = another_primary()
    world = Secondary(primary=other, spec=spec_of(other), uid=former.uid)
    world.status, world.accepted = former.status, former.accepted
    world.roots, world.root_secrets = former.roots, former.root_secrets
    world.signer_secrets = former.signer_secrets
    world.follow()
    assert len([root for root in world.roots if not root.mirrored]) == 1


def test_a_secondary_is_promoted() -> None:
    world = following()
    first = world.active_name
    world.look(AWAY)
    world.settle()
    world.spec = {"rotation": {"trigger": "take over"}, "provider": {"type": "Builtin"}}
    world.generation += 1
    world.settle()
    assert reason(world, "Ready") == ("False", "RootKeyMissing")
    assert "rotate to a root of this cluster" in world.condition("Ready")[2]
    assert isinstance(world.plan().authority, Authority)
    assert reason(world, "RotationInProgress") == ("False", "RotationBlocked")
    assert world.plan().primary is None
    assert "federation" not in world.status
    assert "Reachable" not in {item["type"] for item in world.status["conditions"]}
    both = {"trigger": "take over", "forceWithoutCrossSigning": "take over"}
    world.spec = {"rotation": both, "provider": {"type": "Builtin"}}
    world.generation += 1
    world.settle()
    world.now += 5 * MINUTE
    world.settle()
    assert world.active.source == "Generated"
    assert world.root(first).status["state"] == "Retiring"
    assert len(world.plan().bundle.roots) == 2
    world.now += 72 * HOUR + 10 * MINUTE
    world.settle()
    assert [root.meta.name for root in world.roots] == [world.active_name]


def test_a_promoted_cluster_keeps_what_it_only_mirrored_until_a_person_decides() -> None:
    world = following()
    publish(world)
    world.follow()
    unused = next(root.meta.name for root in world.roots if root.activated_at is None)
    world.spec = {}
    world.generation += 1
    world.now += 100 * pki.DAY
    world.settle()
    root = world.root(unused)
    assert not root.pruned
    world.change_root(root, meta=replace(root.meta, deleting=True))
    world.settle()
    assert unused not in {item.meta.name for item in world.roots}
