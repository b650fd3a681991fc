"""Due times in wall-clock time, on a clock that the tests may step."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from meshca.engine.timers import Timers
from meshca.engine.work import Key, Urgency

pytestmark = pytest.mark.looptime

START = datetime(2030, 1, 1, tzinfo=UTC)


class SteppedClock:
    """Runs with the loop's virtual time, plus whatever somebody stepped it by."""

    def __init__(self) -> None:
        self.step = timedelta()

    def now(self) -> datetime:
        return START + self.step + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


class Fired:
    def __init__(self) -> None:
        self.clock = SteppedClock()
        self.seen: list[tuple[float, str, Urgency]] = []
        self.timers = Timers(self.clock, self)

    def __call__(self, key: Key, urgency: Urgency) -> None:
        self.seen.append((self.clock.monotonic(), key.name, urgency))


def key(name: str) -> Key:
    return Key("LeafCertificateRequest", "shop", name)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


async def test_each_key_fires_once_at_its_time_with_its_urgency() -> None:
    fired = Fired()
    fired.timers.set(key("b"), at(7200), Urgency.RENEWAL)
    fired.timers.set(key("a"), at(90), Urgency.CONTROL)
    assert fired.timers.next_due == at(90)
    await asyncio.sleep(100_000)
    assert fired.seen == [(90, "a", Urgency.CONTROL), (7200, "b", Urgency.RENEWAL)]
    assert fired.timers.next_due is None
    assert len(fired.timers) == 0


async def test_what_is_overdue_fires_at_once() -> None:
    fired = Fired()
    fired.timers.set(key("a"), at(-500), Urgency.RENEWAL)
    await asyncio.sleep(0.001)
    assert [name for _, name, _ in fired.seen] == ["a"]


async def test_setting_again_moves_and_cancelling_removes() -> None:
    fired = Fired()
    for seconds in (50, 500, 20, 30, 30):
        fired.timers.set(key("moved"), at(seconds), Urgency.RENEWAL)
    fired.timers.set(key("moved"), at(30), Urgency.EXPIRING)
    fired.timers.set(key("gone"), at(10), Urgency.RENEWAL)
    fired.timers.cancel(key("gone"))
    fired.timers.cancel(key("never set"))
    assert fired.timers.due(key("moved")) == at(30)
    assert fired.timers.due(key("gone")) is None
    await asyncio.sleep(1000)
    assert fired.seen == [(30, "moved", Urgency.EXPIRING)]


async def test_a_clock_stepped_forward_is_noticed_within_a_minute() -> None:
    fired = Fired()
    fired.timers.set(key("a"), at(86_400), Urgency.RENEWAL)
    await asyncio.sleep(100)
    fired.clock.step = timedelta(days=2)
    await asyncio.sleep(60)
    assert [name for _, name, _ in fired.seen] == ["a"]


async def test_a_clock_stepped_back_fires_late_rather_than_early() -> None:
    fired = Fired()
    fired.timers.set(key("a"), at(100), Urgency.RENEWAL)
    fired.clock.step = timedelta(seconds=-1000)
    await asyncio.sleep(1099)
    assert fired.seen == []
    await asyncio.sleep(2)
    assert len(fired.seen) == 1


async def test_a_hundred_thousand_entries_use_one_handle_and_all_fire() -> None:
    fired = Fired()
    for number in range(100_000):
        fired.timers.set(key(str(number)), at(10 + number % 7), Urgency.RENEWAL)
    for number in range(0, 100_000, 2):
        fired.timers.set(key(str(number)), at(500), Urgency.RENEWAL)
    assert len(asyncio.get_running_loop()._scheduled) <= 2  # type: ignore[attr-defined]
    await asyncio.sleep(20)
    assert len(fired.seen) == 50_000
    await asyncio.sleep(1000)
    assert len({name for _, name, _ in fired.seen}) == 100_000


async def test_moving_one_key_for_ever_does_not_grow_the_heap() -> None:
    fired = Fired()
    fired.timers.set(key("first"), at(1), Urgency.RENEWAL)
    for number in range(10_000):
        fired.timers.set(key("a"), at(10 + number), Urgency.RENEWAL)
    assert len(fired.timers._heap._heap) < 200
    await asyncio.sleep(50_000)
    assert [name for _, name, _ in fired.seen] == ["first", "a"]


async def test_an_error_in_one_key_does_not_hold_up_the_others() -> None:
    seen: list[str] = []
    errors: list[object] = []

    def fire(fired: Key, _: Urgency) -> None:
        if fired.name == "bad":
            raise RuntimeError(fired.name)
        seen.append(fired.name)

    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))
    timers = Timers(SteppedClock(), fire)
    timers.set(key("bad"), at(1), Urgency.RENEWAL)
    timers.set(key("good"), at(1), Urgency.RENEWAL)
    await asyncio.sleep(2)
    assert seen == ["good"]
    assert [str(error) for error in errors] == ["bad"]


async def test_nothing_fires_after_close() -> None:
    fired = Fired()
    fired.timers.set(key("a"), at(1), Urgency.RENEWAL)
    fired.timers.close()
    fired.timers.close()
    await asyncio.sleep(100)
    assert fired.seen == []
