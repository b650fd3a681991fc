"""The sign of life of a loop."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from meshca.server.pulse import Pulse

pytestmark = pytest.mark.looptime


class LoopClock:
    """The loop's virtual time, plus the time for which somebody blocked the loop."""

    blocked = 0.0

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.blocked


async def test_the_age_stays_small_while_the_loop_runs_and_is_unknown_outside() -> None:
    lags: list[float] = []
    pulse = Pulse(LoopClock(), lags.append)
    assert pulse.age() is None
    pulse.start()
    await asyncio.sleep(10.5)
    assert pulse.age() == pytest.approx(0.5)
    assert lags == pytest.approx([0.0] * 10)
    pulse.stop()
    pulse.stop()
    await asyncio.sleep(10)
    assert pulse.age() is None
    assert len(lags) == 10
    pulse._beat()
    assert pulse.age() is None


async def test_a_blocked_loop_is_seen_from_outside_and_reported_afterwards() -> None:
    lags: list[float] = []
    clock = LoopClock()
    pulse = Pulse(clock, lags.append)
    pulse.start()
    clock.blocked = 30
    assert pulse.age() == pytest.approx(30)
    await asyncio.sleep(1.5)
    pulse.stop()
    assert lags == pytest.approx([30.0])
