"""Alive and ready, as a table of facts."""

from __future__ import annotations

import pytest

from meshca.server.health import Facts, unhealthy, unready

LEADING = {"leading": True, "synced": True, "engine_age": 0.5, "watch_age": 30.0, "lease_age": 2.0}


@pytest.mark.parametrize(
    ("change", "health", "readiness"),
    [
        ({}, "", ""),
        ({"engine_age": 15.0, "watch_age": 420.0, "lease_age": 45.0}, "", ""),
        ({"engine_age": 16.0}, "event loop has not run for 16 s", "event loop has not run for 16 s"),
        ({"watch_age": 500.0}, "a watch has been silent for 500 s", "a watch has been silent for 500 s"),
        ({"watch_age": None}, "", ""),
        ({"watch_age": 500.0, "stopping": True}, "", "stopping"),
        ({"synced": False}, "", "the first listing is not complete"),
        ({"lease_age": 46.0}, "", "the Lease could not be read for 46 s"),
    ],
)
def test_a_leader(change: dict[str, object], health: str, readiness: str) -> None:
    facts = Facts(**(LEADING | change))  # type: ignore[arg-type]
    assert health in "".join(unhealthy(facts))
    assert bool(health) == bool(unhealthy(facts))
    assert readiness in "".join(unready(facts))
    assert bool(readiness) == bool(unready(facts))


def test_a_standby_is_ready_once_it_has_seen_the_lease() -> None:
    assert unready(Facts(lease_age=3.0)) == []
    assert unready(Facts()) == ["the Lease has not been read yet"]
    assert unhealthy(Facts()) == []


def test_a_standby_that_remembers_a_silent_watch_is_healthy() -> None:
    assert unhealthy(Facts(watch_age=10_000.0)) == []


def test_all_problems_are_named() -> None:
    problems = unready(Facts(leading=True, engine_age=99.0, watch_age=999.0, lease_age=99.0))
    assert len(problems) == 4
