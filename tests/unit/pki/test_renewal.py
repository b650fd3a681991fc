"""Renewal moments: spread, stable, whole seconds."""

from __future__ import annotations

from datetime import timedelta

from meshca.pki.renewal import half_life, renew_at, spread
from tests.fakes.pki import HOUR, NOW

ENDS = NOW + 72 * HOUR
UIDS = [f"uid-{number}" for number in range(500)]


def test_a_leaf_is_due_between_60_and_90_percent_of_its_life() -> None:
    moments = [renew_at(uid, NOW, ENDS) for uid in UIDS]
    assert min(moments) >= NOW + 0.6 * 72 * HOUR
    assert max(moments) < NOW + 0.9 * 72 * HOUR


def test_a_fleet_made_at_once_is_not_due_at_once() -> None:
    width = 0.3 * 72 * HOUR / 10
    slots = [(renew_at(uid, NOW, ENDS) - (NOW + 0.6 * 72 * HOUR)) // width for uid in UIDS]
    counts = [slots.count(slot) for slot in range(10)]
    assert sum(counts) == len(UIDS)
    assert min(counts) >= 25
    assert max(counts) <= 85


def test_the_moment_is_stable_and_a_whole_second() -> None:
    odd = NOW + timedelta(seconds=4567)
    assert renew_at("7f1d", NOW, odd) == renew_at("7f1d", NOW, odd)
    assert all(renew_at(uid, NOW, odd).microsecond == 0 for uid in UIDS)
    # What is written in status today must be found again by a later version.
    assert renew_at("7f1d", NOW, ENDS).isoformat() == "2030-01-03T11:44:53+00:00"


def test_half_life() -> None:
    assert half_life(NOW, NOW + 10 * HOUR) == NOW + 5 * HOUR
    assert half_life(NOW, NOW + timedelta(seconds=3)) == NOW + timedelta(seconds=1)


def test_a_delay_is_stable_and_inside_its_window() -> None:
    delays = {uid: spread(uid, HOUR) for uid in UIDS}
    assert all(timedelta(0) <= delay < HOUR for delay in delays.values())
    assert len(set(delays.values())) > 400
    assert delays["uid-1"] == spread("uid-1", HOUR)
    assert spread("uid-1", timedelta(0)) == timedelta(0)
