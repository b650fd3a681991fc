"""What blocks a rotation, and what force permits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from meshca.planning import crosses, steps
from meshca.planning.authority import Authority, Unavailable
from meshca.planning.ca import Census, Publication
from tests.fakes.caworld import World, bootstrapped
from tests.fakes.gates import stopped_at_gate, turning
from tests.fakes.pki import NOW

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def without_cross_signing(world: World) -> None:
    world.cross_signers = frozenset()


def without_key(world: World) -> None:
    world.root_secrets = [item for item in world.root_secrets if item.meta.name != world.active.key_secret]


def at_the_end(world: World) -> None:
    world.now = world.active.facts.not_after + SECOND


BLOCKED = [
    pytest.param(without_cross_signing, "cannot cross-sign", id="075 provider"),
    pytest.param(without_key, "the key of root", id="missing key"),
    pytest.param(at_the_end, "has expired", id="218 expired"),
]


@pytest.mark.parametrize(("damage", "words"), BLOCKED)
def test_075_218_221_root_that_cannot_sign_another_blocks_until_that_is_permitted(
    damage: Any, words: str
) -> None:
    world = bootstrapped()
    old = world.active
    damage(world)
    world.settle()
    world.done.clear()
    world.ask("one")
    world.settle()
    assert set(world.done) <= {"AcceptSpec", "WriteRootStatus"}
    state, reason, message = world.condition("RotationInProgress")
    assert (state, reason) == ("False", "RotationBlocked")
    assert words in message
    assert "its key put back" in message
    assert "forceWithoutCrossSigning" in message
    world.ask("two", forceWithoutCrossSigning="one")
    world.settle()
    assert turning(world) == ("False", "RotationBlocked")
    began = world.now
    world.ask("two", forceWithoutCrossSigning="two")
    world.settle()
    if damage is not at_the_end:
        assert turning(world) == ("True", "Publish")
        assert world.plan().due == began + 5 * MINUTE
        assert len(world.plan().bundle.roots) == 2
        world.now = began + 5 * MINUTE
        world.settle()
    assert turning(world) == ("False", "Completed")
    assert world.active_name != old.meta.name
    assert world.active.trigger == "two"
    assert "CrossSign" not in world.done
    assert world.now - began == (timedelta(0) if damage is at_the_end else 5 * MINUTE)


def test_expired_mesh_comes_back_with_one_change_although_a_place_is_away() -> None:
    world = bootstrapped()
    world.now = world.active.facts.not_after + 30 * 24 * HOUR
    world.settle()
    assert isinstance(world.plan().authority, Unavailable)
    assert world.condition("Ready")[1] == "RootExpired"
    world.ask("again", forceWithoutCrossSigning="again")
    plan = world.settle()
    assert isinstance(plan.authority, Authority)
    assert world.condition("Ready")[:2] == ("True", "Initialised")
    assert world.condition("RootExpiringSoon")[:2] == ("False", "AsExpected")


def test_force_holds_for_one_rotation_and_may_stay_where_it_is() -> None:
    world = bootstrapped()
    without_cross_signing(world)
    world.ask("two", forceWithoutCrossSigning="two")
    world.settle()
    world.now += 5 * MINUTE
    world.settle()
    forced = world.active_name
    assert world.active.trigger == "two"
    world.spec = world.spec | {"privateKey": {"algorithm": "ECDSA", "size": 384}}
    world.settle()
    assert turning(world) == ("False", "RotationBlocked")
    assert world.active_name == forced


def test_force_makes_the_cross_certificates_that_can_be_made() -> None:
    world = bootstrapped()
    world.ask("one")
    world.settle()
    older, active = world.roots
    world.root_secrets = [item for item in world.root_secrets if item.meta.name != older.key_secret]
    world.settle()
    world.ask("two")
    world.settle()
    assert turning(world) == ("False", "RotationBlocked")
    assert older.meta.name in world.condition("RotationInProgress")[2]
    world.ask("two", forceWithoutCrossSigning="two")
    world.settle()
    new = world.roots[-1]
    secret = next(item for item in world.root_secrets if item.meta.name == new.key_secret)
    assert [crosses.signed_by(item) for item in secret.cross] == [active.facts.subject_key_id]
    assert world.plan().due == NOW + 5 * MINUTE


def test_managed_secrets_get_the_bundle_when_no_cross_certificate_helps_them() -> None:
    world = bootstrapped()
    without_cross_signing(world)
    world.ask("two", forceWithoutCrossSigning="two")
    world.census = Census(bundles_behind=7)
    plan = world.settle()
    assert isinstance(plan.authority, Authority)
    assert plan.authority.bundle_in_secrets
    assert "waits for the bundle in 7 managed Secrets" in world.condition("RotationInProgress")[2]
    assert plan.due == NOW + 10 * MINUTE
    world.now = NOW + 5 * MINUTE
    world.settle()
    assert turning(world) == ("True", "Publish")
    world.census = Census(unread=1)
    world.settle()
    assert turning(world) == ("True", "Publish")
    world.census = Census()
    world.settle()
    assert turning(world)[1] == "Completed"


def test_cross_signed_rotation_writes_no_managed_secret() -> None:
    world = stopped_at_gate(publication=Publication(3, 2, ("a",), complete=True))
    plan = world.plan()
    assert isinstance(plan.authority, Authority)
    assert not plan.authority.bundle_in_secrets


def test_key_put_back_while_blocked_lets_the_rotation_go_on() -> None:
    world = bootstrapped()
    kept = list(world.root_secrets)
    without_key(world)
    world.ask("one")
    world.settle()
    assert turning(world) == ("False", "RotationBlocked")
    world.root_secrets = kept
    world.settle()
    assert turning(world) == ("False", "Completed")
    assert world.done.count("CrossSign") == 1


def test_nothing_irreversible_is_done_while_clocks_differ() -> None:
    world = bootstrapped()
    world.ask("one")
    done = []
    for _ in range(60):
        world.clocks_differ = True
        step = world.plan().step
        assert not isinstance(step, steps.IRREVERSIBLE)
        assert world.condition("Degraded")[:2] == ("True", "ClockSkew")
        assert world.plan().due == NOW + MINUTE
        world.clocks_differ = False
        done.append(world.step())
        if done[-1] is None:
            break
    assert sum(isinstance(step, steps.IRREVERSIBLE) for step in done) == 6
    assert turning(world) == ("False", "Completed")
