"""What a rotation waits for before it activates a root: places, time, evidence."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from meshca.planning import rotation
from meshca.planning.assess import assess
from meshca.planning.authority import Authority
from meshca.planning.ca import Publication
from tests.fakes.caworld import EVERYWHERE, bootstrapped
from tests.fakes.gates import stopped_at_gate, turning
from tests.fakes.pki import NOW

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


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
