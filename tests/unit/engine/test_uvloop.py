"""Queue and timers on the loop that runs in production, in real time: milliseconds, no more.

uvloop counts in whole milliseconds, and what it returns for a timer that is due at once is no timer.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import uvloop

from meshca.clock import SystemClock
from meshca.engine.queue import Key, Urgency, WorkQueue
from meshca.engine.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Callable

LOOPS = pytest.mark.parametrize("loop_factory", [uvloop.new_event_loop, asyncio.new_event_loop])


def key(number: int) -> Key:
    return Key("LeafCertificateRequest", "shop", str(number))


async def rated(rate: float, count: int) -> float:
    loop = asyncio.get_running_loop()
    queue = WorkQueue(max_in_flight=4)
    queue.set_limits("default", per_second=rate)
    for number in range(count):
        queue.add(key(number), Urgency.FIRST, "default")
    start = loop.time()

    async def work() -> None:
        while (item := await queue.get()) is not None:
            queue.done(item.key)
            if not sum(queue.depth().values()):
                queue.close()

    async with asyncio.timeout(30):
        await asyncio.gather(*(work() for _ in range(4)))
    return loop.time() - start


async def timed(count: int) -> int:
    fired: set[Key] = set()
    done = asyncio.Event()

    def fire(due: Key, _: Urgency) -> None:
        fired.add(due)
        if len(fired) == count:
            done.set()

    clock = SystemClock()
    timers = Timers(clock, fire)
    for number in range(count):
        timers.set(key(number), clock.now() + timedelta(microseconds=300 * (count - number)), Urgency.RENEWAL)
    async with asyncio.timeout(30):
        await done.wait()
    timers.close()
    return len(fired)


@LOOPS
@pytest.mark.parametrize("rate", [500, 3000])
def test_a_rate_is_never_exceeded(loop_factory: Callable[[], asyncio.AbstractEventLoop], rate: float) -> None:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(rated(rate, 20)) >= 19 / rate - 0.003


@LOOPS
def test_timers_that_are_less_than_a_millisecond_apart_all_fire(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(timed(40)) == 40
