"""What registered clusters hold up: the gate of a rotation, the prune of a root, and how that is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from meshca.api.v1alpha1.scalars import format_time
from meshca.planning import laggards
from meshca.planning.assess import assess
from meshca.planning.secondaries import (
    extended,
    holds,
    namespace_owner,
    read_intermediates,
    read_secondaries,
    registered,
)
from tests.fakes.caworld import World, bootstrapped
from tests.fakes.pki import NOW
from tests.fakes.registered import federated, root_view, secondary
from tests.fakes.retired import names_of

if TYPE_CHECKING:
    from meshca.planning.ca import Root

JSON = dict[str, Any]
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


# --- who is registered ----------------------------------------------------------------------------


def test_what_cannot_be_read_is_registered_nowhere() -> None:
    bodies = [federated("west"), {"metadata": {"name": "bad"}, "spec": {}}, federated("east")]
    assert [item.name for item in read_secondaries(bodies)] == ["east", "west"]


def test_registered_are_those_of_the_configuration_that_stay_and_have_their_namespace() -> None:
    everyone = read_secondaries(
        [
            federated("west"),
            federated("east", caConfigurationName="other"),
            federated("leaving", deleting=True),
            federated("later", created=NOW + SECOND, namespace="meshca-fed-west"),
        ]
    )
    assert [item.name for item in registered(everyone, "default")] == ["west"]


@pytest.mark.parametrize(
    ("mine", "others", "owner"),
    [
        ((NOW, "b"), (NOW, "a"), "east"),
        ((NOW, "a"), (NOW, "b"), ""),
        ((NOW + SECOND, "a"), (NOW, "b"), "east"),
        ((NOW - SECOND, "b"), (NOW, "a"), ""),
        ((None, "b"), (NOW, "a"), ""),
    ],
)
def test_namespace_belongs_to_the_cluster_that_was_registered_first(
    mine: Any, others: Any, owner: str
) -> None:
    west = secondary(created=mine[0], uid=mine[1], namespace="shared")
    east = secondary("east", created=others[0], uid=others[1], namespace="shared")
    apart = secondary("south", created=NOW - HOUR)
    assert namespace_owner(west, [west, apart, east]) == owner


def test_news_without_meaning_for_roots_is_no_other_evidence() -> None:
    end = format_time(NOW + HOUR)
    first: JSON = {
        "lastSeen": format_time(NOW),
        "roots": ["a", "b"],
        "leaves": [{"root": "a", "leaves": 3, "lastNotAfter": end}],
    }
    same = first | {"lastSeen": end, "roots": ["b", "a"], "signerNotAfter": end}
    same["leaves"] = [{"root": "a", "leaves": 2, "lastNotAfter": end}]
    assert secondary(report=first).evidence == secondary(report=same).evidence
    for change in (
        {"lastSeen": None},
        {"roots": ["a"]},
        {"activeRoot": "a"},
        {"leaves": [{"root": "a", "leaves": 0, "lastNotAfter": end}]},
    ):
        assert secondary(report=first | change).evidence != secondary(report=first).evidence


# --- what is recorded of granted signers ---------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("{}", {}),
        ('{"west": "2030-01-01T00:00:00Z"}', {"west": "2030-01-01T00:00:00Z"}),
        ("{", None),
        ("[]", None),
        ('{"west": 7}', None),
        ('{"west": "soon"}', None),
    ],
)
def test_record_of_granted_signers_is_read_or_damaged(text: str, found: JSON | None) -> None:
    read = read_intermediates(text)
    assert (read if read is None else {name: format_time(end) for name, end in read.items()}) == found


@pytest.mark.parametrize(
    ("known", "wanted"),
    [
        ({}, {"west": NOW}),
        ({"east": NOW}, {"east": NOW, "west": NOW}),
        ({"west": NOW - SECOND}, {"west": NOW}),
        ({"west": NOW}, None),
        ({"west": NOW + SECOND}, None),
    ],
)
def test_record_is_only_ever_extended(known: Any, wanted: Any) -> None:
    text = extended(root_view(intermediates=known), "west", NOW)
    assert (read_intermediates(text) if text is not None else None) == wanted


# --- who needs a root -----------------------------------------------------------------------------


def rotated(**intermediates: timedelta) -> tuple[World, Root]:
    """Return a world after a rotation, and the root that was rotated out with these records of signers."""
    world = bootstrapped()
    world.ask("one")
    world.settle()
    ends = {name: world.now + left for name, left in intermediates.items()}
    world.change_root(world.roots[0], intermediates=ends)
    return world, world.roots[0]


def left_it(world: World, **more: Any) -> JSON:
    """Return the report of a cluster that has followed."""
    active = world.active.facts.fingerprint
    roots = [root.facts.fingerprint for root in world.roots]
    return {"lastSeen": format_time(world.now), "activeRoot": active, "roots": roots} | more


def hold_of(world: World, old: Root, report: JSON) -> str:
    world.secondaries = (secondary(report=report),)
    found = holds(world.snapshot(), old)
    return found[0].why if found else ""


def leaves(old: Root, end: timedelta | None, number: int = 2) -> list[JSON]:
    entry: JSON = {"root": old.facts.fingerprint, "leaves": number}
    return [entry | ({"lastNotAfter": format_time(NOW + end)} if end is not None else {})]


def test_130_cluster_that_has_left_a_root_does_not_need_it() -> None:
    world, old = rotated(west=500 * HOUR)
    assert hold_of(world, old, left_it(world)) == ""
    gone: JSON = {"leaves": [{"root": "0" * 64, "leaves": 9}]}
    assert hold_of(world, old, left_it(world) | gone) == ""
    assert hold_of(world, old, left_it(world, leaves=leaves(old, timedelta(0)))) == ""
    assert hold_of(world, old, left_it(world, leaves=leaves(old, None, 0))) == ""


HOLDS: list[tuple[str, JSON, str]] = [
    ("never-seen", {"lastSeen": None}, "has not reported"),
    ("silent", {"lastSeen": format_time(NOW - HOUR)}, "has not reported"),
    ("signs", {"activeRoot": "old"}, "still signs under it"),
    ("no-signer", {"activeRoot": ""}, "still signs under it"),
]


@pytest.mark.parametrize(("change", "why"), [row[1:] for row in HOLDS], ids=[row[0] for row in HOLDS])
def test_131_cluster_that_may_use_a_root_needs_it_until_its_last_signer_ends(change: JSON, why: str) -> None:
    world, old = rotated(west=500 * HOUR)
    named = {"activeRoot": old.facts.fingerprint} if change.get("activeRoot") == "old" else {}
    report = left_it(world) | change | named
    assert why in hold_of(world, old, report)
    assert holds(world.snapshot(), old)[0].until == world.now + 500 * HOUR
    world.now += 500 * HOUR
    assert hold_of(world, old, report) == ""


@pytest.mark.parametrize(
    ("left", "until"),
    [
        (leaves, 5 * HOUR),
        (lambda old, end: [*leaves(old, HOUR), *leaves(old, end)], 5 * HOUR),
        (lambda old, end: [*leaves(old, None), *leaves(old, end)], 500 * HOUR),
        (lambda old, _: leaves(old, 900 * HOUR), 500 * HOUR),
        (lambda old, end: leaves(old, end, 0), 5 * HOUR),
    ],
    ids=["one", "two", "without-end", "beyond", "replaced"],
)
def test_131_cluster_with_leaves_needs_the_root_until_the_last_of_them_ends(
    left: Any, until: timedelta
) -> None:
    world, old = rotated(west=500 * HOUR)
    world.secondaries = (secondary(report=left_it(world, leaves=left(old, 5 * HOUR))),)
    [found] = holds(world.snapshot(), old)
    assert "has leaves under it until" in found.why
    assert found.until == NOW + until


def test_cluster_that_was_granted_no_signer_under_a_root_does_not_need_it() -> None:
    world, old = rotated(east=500 * HOUR)
    assert hold_of(world, old, {}) == ""


def test_damaged_record_holds_a_root_for_every_registered_cluster_until_its_end() -> None:
    world, old = rotated()
    world.change_root(old, intermediates=None)
    old = world.roots[0]
    world.secondaries = (secondary(), secondary("east", left_it(world)))
    [found] = holds(world.snapshot(), old)
    assert (found.cluster, found.until) == ("west", old.facts.not_after)


# --- prunes ---------------------------------------------------------------------------------------


def due(world: World, old: Root) -> None:
    assert old.prunable_after is not None
    world.now = old.prunable_after


def test_131_prune_waits_for_a_silent_cluster_and_names_it_until_its_signer_ends() -> None:
    world, old = rotated(west=500 * HOUR)
    world.secondaries = (secondary(), secondary("east", {}))
    due(world, old)
    plan = world.settle()
    assert old.meta.name in names_of(world)
    assert plan.due == NOW + 500 * HOUR
    message = world.root(old.meta.name).status["conditions"][0]["message"]
    assert "secondary cluster 'west' has not reported" in message
    assert world.condition("Degraded")[:2] == ("True", "SecondaryBehind")
    assert f"'west' keeps root {old.meta.name!r}" in world.condition("Degraded")[2]
    world.now = NOW + 500 * HOUR
    world.settle()
    assert old.meta.name not in names_of(world)
    assert world.condition("Degraded")[0] == "False"


@pytest.mark.parametrize("way", ["report", "unregister", "prune-now"])
def test_130_prune_goes_on_when_the_cluster_has_left_or_is_let_go(way: str) -> None:
    world, old = rotated(west=500 * HOUR)
    world.secondaries = (secondary(),)
    due(world, old)
    world.settle()
    if way == "report":
        world.secondaries = (secondary(report=left_it(world)),)
    elif way == "unregister":
        world.secondaries = ()
    else:
        world.change_root(world.root(old.meta.name), prune_now=old.facts.fingerprint)
    world.settle()
    assert old.meta.name not in names_of(world)


def test_131_deleted_root_waits_for_its_cluster_too() -> None:
    world, old = rotated(west=500 * HOUR)
    world.secondaries = (secondary(),)
    world.now += HOUR
    world.change_root(old, meta=replace(old.meta, deleting=True))
    world.settle()
    assert old.meta.name in names_of(world)
    world.secondaries = (secondary(report=left_it(world)),)
    world.settle()
    assert old.meta.name not in names_of(world)


# --- the gate -------------------------------------------------------------------------------------


def holding(world: World, *roots: Root) -> JSON:
    fingerprints = [root.facts.fingerprint for root in roots or world.roots]
    return {"lastSeen": format_time(world.now), "roots": fingerprints}


def at_gate(report: JSON | None = None, **changes: Any) -> World:
    """Return a world whose new root is published, with one cluster that holds the old one."""
    world = bootstrapped()
    for name, value in changes.items():
        setattr(world, name, value)
    world.secondaries = (secondary(report=holding(world) if report is None else report),)
    forced = {"forceWithoutCrossSigning": "one"} if changes else {}
    world.ask("one", **forced)
    world.settle()
    return world


def turning(world: World) -> tuple[str, str]:
    return world.condition("RotationInProgress")[:2]


def test_120_gate_waits_for_a_cluster_that_lacks_the_new_root_and_opens_with_its_report() -> None:
    world = at_gate()
    old = world.active
    assert turning(world) == ("True", "Publish")
    assert world.condition("RotationInProgress")[2].endswith(
        "waits for the bundle in secondary clusters west"
    )
    assert world.plan().due == world.now + MINUTE
    world.secondaries = (secondary(report=holding(world)),)
    world.settle()
    assert world.active != old


@pytest.mark.parametrize(
    ("after", "opens"), [(10 * MINUTE - SECOND, False), (10 * MINUTE, True)], ids=["before", "deadline"]
)
def test_gate_waits_ten_minutes_with_cross_certificates(after: timedelta, *, opens: bool) -> None:
    world = at_gate()
    old = world.active
    world.now += after
    world.settle()
    assert (world.active != old) == opens
    assert world.condition("Degraded")[:2] == ("True", "SecondaryBehind")


def test_gate_waits_without_end_where_no_cross_certificate_helps() -> None:
    world = at_gate(cross_signers=frozenset())
    old = world.active
    world.now += 1000 * HOUR
    world.settle()
    assert world.active == old
    assert turning(world) == ("True", "Publish")
    world.secondaries = (secondary(report=holding(world)),)
    world.settle()
    assert world.active != old


def test_gate_waits_for_nobody_when_every_older_root_has_expired() -> None:
    world = bootstrapped()
    old = world.active
    world.now = old.facts.not_after
    world.secondaries = (secondary(report=holding(world)),)
    world.ask("one", forceWithoutCrossSigning="one", minimumPublishTime="0s")
    world.settle()
    assert world.active != old


@pytest.mark.parametrize("report", [{}, {"roots": []}], ids=["nothing", "no-time"])
def test_cluster_that_never_reported_holds_nothing_up(report: JSON) -> None:
    world = bootstrapped()
    old = world.active
    world.secondaries = (secondary(report=report),)
    world.ask("one")
    world.settle()
    assert world.active != old
    assert world.condition("Degraded")[0] == "False"


def test_gate_waits_for_a_cluster_whose_report_was_lost_as_long_as_a_signer_of_it_lives() -> None:
    world = at_gate(cross_signers=frozenset())
    old = world.active.meta.name
    world.change_root(world.active, intermediates={"west": world.now + 5 * HOUR})
    world.secondaries = (secondary(),)
    for after, waits in ((5 * HOUR - SECOND, True), (SECOND, False)):
        world.now += after
        world.settle()
        assert (world.active.meta.name == old) == waits


# --- how it is told -------------------------------------------------------------------------------


@pytest.mark.parametrize(("after", "told"), [(MINUTE - SECOND, False), (MINUTE, True)])
def test_cluster_that_lacks_a_root_is_told_of_after_a_minute(after: timedelta, *, told: bool) -> None:
    world = at_gate()
    world.now += after
    assert (world.condition("Degraded")[1] == "SecondaryBehind") == told
    assert bool(laggards.message(assess(world.snapshot()))) == told


def test_cluster_that_joined_lately_has_its_minute_too() -> None:
    world = bootstrapped()
    world.now += 100 * HOUR
    world.secondaries = (secondary(created=world.now, report={"lastSeen": format_time(world.now)}),)
    assert laggards.message(assess(world.snapshot())) == ""
    world.now += MINUTE
    assert "'west' does not hold root" in laggards.message(assess(world.snapshot()))
