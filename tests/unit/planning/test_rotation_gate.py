"""What has to be so before another root is used: cross-certificates or force, places, time, clocks."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from meshca.api.v1alpha1.scalars import format_time
from meshca.planning import crosses, rotation, steps
from meshca.planning.assess import assess
from meshca.planning.authority import Authority, Unavailable
from meshca.planning.ca import Census, Publication, Straggler
from tests.fakes.caworld import EVERYWHERE, World, bootstrapped
from tests.fakes.pki import NOW

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def stopped_at_gate(**changes: Any) -> World:
    """Return a world in which a new root is published and something holds it there."""
    world = bootstrapped()
    for name, value in changes.items():
        setattr(world, name, value)
    world.ask("one")
    world.settle()
    assert len(world.active.base) == 10
    assert world.active.rotated_out_at is None
    return world


def turning(world: World) -> tuple[str, str]:
    return world.condition("RotationInProgress")[:2]


def test_107_phases_say_what_signs_and_what_is_trusted() -> None:
    world = bootstrapped()
    old = world.active
    world.ask("one")
    seen: list[tuple[str, int, bool]] = []
    for _ in range(60):
        plan = world.plan()
        assert isinstance(plan.authority, Authority)
        row = (world.condition("RotationInProgress")[1], len(plan.bundle.roots))
        if not seen or seen[-1][:2] != row:
            seen.append((*row, plan.authority.root == old.facts.fingerprint))
        if world.step() is None:
            break
    assert seen == [
        ("Prepare", 1, True),
        ("Publish", 2, True),
        ("Activate", 2, True),
        ("Completed", 2, False),
    ]


PLACES = [
    pytest.param(
        Publication(3, 2, ("a",), complete=True), "waits for the bundle in a", 10 * MINUTE, id="behind"
    ),
    pytest.param(
        Publication(6, 2, ("a", "b", "c", "d"), complete=True), "in a, b, c", 10 * MINUTE, id="many behind"
    ),
    pytest.param(
        Publication(3, 2, ("a",), (("a", "no"),), complete=True), "waits", 10 * MINUTE, id="refused"
    ),
]


@pytest.mark.parametrize(("publication", "words", "patience"), PLACES)
def test_place_without_the_bundle_holds_the_rotation_for_ten_minutes(
    publication: Publication, words: str, patience: timedelta
) -> None:
    world = stopped_at_gate(publication=publication)
    state, reason, message = world.condition("RotationInProgress")
    assert (state, reason) == ("True", "Publish")
    assert words in message
    assert world.plan().due == NOW + patience
    world.now = NOW + patience - SECOND
    assert world.plan().step is None
    world.now = NOW + patience
    world.settle()
    assert turning(world) == ("False", "Completed")


def test_place_that_takes_the_bundle_late_opens_the_gate_at_once() -> None:
    world = stopped_at_gate(publication=Publication(3, 2, ("a",), complete=True))
    world.now += MINUTE
    world.publication = EVERYWHERE
    world.settle()
    assert turning(world) == ("False", "Completed")
    assert "ReadBack" in world.done


def test_nothing_is_activated_before_every_place_was_looked_at_however_long_that_takes() -> None:
    world = stopped_at_gate(publication=Publication(3, 3))
    assert "is being published" in world.condition("RotationInProgress")[2]
    world.now += 100 * HOUR
    world.settle()
    assert turning(world) == ("True", "Publish")


def test_other_bundle_that_was_published_opens_nothing() -> None:
    world = stopped_at_gate(publication=Publication(3, 2, ("a",), complete=True))
    world.publication = EVERYWHERE
    found = world.snapshot()
    other = assess(replace(found, publication=replace(found.publication, digest="other", read_back=True)))
    assert not rotation.gate(other).is_open


def test_minimum_publish_time_is_waited_for_and_no_longer() -> None:
    world = bootstrapped()
    world.ask("one", minimumPublishTime="2h")
    world.settle()
    assert turning(world) == ("True", "Publish")
    assert world.plan().due == NOW + 2 * HOUR
    world.now = NOW + 2 * HOUR - SECOND
    world.settle()
    assert turning(world) == ("True", "Publish")
    world.now += SECOND
    world.settle()
    assert turning(world) == ("False", "Completed")


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
