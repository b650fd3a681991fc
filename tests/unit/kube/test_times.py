"""Clock skew towards the API server."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from meshca.kube.times import ServerTime, micro_time


class ManualClock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(1_767_225_600 + self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds


def test_skew_is_how_far_the_server_is_ahead() -> None:
    time = ServerTime(ManualClock())
    assert time.skew is None
    time.observe("Thu, 01 Jan 2026 00:02:00 GMT")
    assert time.skew == 120.0


@pytest.mark.parametrize("date", ["", "yesterday", "32 Jan"])
def test_what_is_no_date_is_ignored(date: str) -> None:
    time = ServerTime(ManualClock())
    time.observe(date)
    assert time.skew is None


def test_a_date_without_a_zone_is_utc() -> None:
    time = ServerTime(ManualClock())
    time.observe("Thu, 01 Jan 2026 00:00:10 -0000")
    assert time.skew == 10.0


def test_it_looks_only_every_few_seconds() -> None:
    clock = ManualClock()
    time = ServerTime(clock)
    time.observe("Thu, 01 Jan 2026 00:00:00 GMT")
    time.observe("Thu, 01 Jan 2026 01:00:00 GMT")
    assert time.skew == 0.0
    clock.seconds = 6
    time.observe("Thu, 01 Jan 2026 01:00:06 GMT")
    assert time.skew == 3600.0


def test_micro_time_has_six_digits_and_a_z() -> None:
    assert micro_time(datetime(2026, 1, 2, 3, 4, 5, 60, tzinfo=UTC)) == "2026-01-02T03:04:05.000060Z"
