"""The work queue when something is to run again, later, or not at all: failures, plans, the end."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest

from meshca.engine.backoff import CAP
from meshca.engine.queue import Key, Urgency, WorkQueue
from tests.fakes.queue import (
    CONFIGURATION,
    CONTROL,
    EXPIRING,
    FIRST,
    REISSUE,
    RENEWAL,
    leaf,
    now,
    run_all,
    take,
    take_now,
)

pytestmark = pytest.mark.looptime


async def test_a_failing_key_waits_longer_each_time_up_to_five_minutes() -> None:
    queue = WorkQueue(max_in_flight=1, rng=random.Random(1))
    queue.add(leaf("a"), RENEWAL, "default")
    gaps = []
    for attempt in range(14):
        start = now()
        item = await take(queue)
        assert (item.attempt, item.urgency, item.lane) == (attempt, RENEWAL, "default")
        gaps.append(now() - start)
        queue.retry(item.key)
    for attempt, gap in enumerate(gaps[1:]):
        step = min(CAP, 0.5 * 2**attempt)
        assert step / 2 <= gap <= step


async def test_success_and_forget_reset_the_back_off() -> None:
    queue = WorkQueue(max_in_flight=1)
    for reset in (queue.done, queue.forget):
        queue.add(leaf("a"), FIRST)
        for _ in range(5):
            item = await take(queue)
            queue.retry(item.key)
        item = await take(queue)
        assert item.attempt == 5
        if reset == queue.forget:
            queue.forget(item.key)
            queue.retry(item.key)
            item = await take(queue)
            assert item.attempt == 1
        queue.done(item.key)
        queue.add(leaf("a"), FIRST)
        assert (await take(queue)).attempt == 0
        queue.done(leaf("a"))


async def test_retry_after_overrides_the_back_off() -> None:
    queue = WorkQueue(max_in_flight=1)
    queue.add(leaf("a"), FIRST)
    item = await take(queue)
    queue.retry(item.key, after=42)
    assert queue.planned == 1
    await take(queue)
    assert now() == 42


async def test_a_key_that_changed_while_it_failed_runs_again_at_once() -> None:
    queue = WorkQueue(max_in_flight=1)
    queue.add(leaf("a"), FIRST)
    item = await take(queue)
    queue.add(leaf("a"), FIRST)
    queue.retry(item.key, after=42)
    assert await take_now(queue) is not None
    assert queue.planned == 0


async def test_a_change_ends_the_wait_of_a_back_off() -> None:
    queue = WorkQueue(max_in_flight=1)
    queue.add(leaf("a"), FIRST)
    queue.retry((await take(queue)).key, after=100)
    queue.add(leaf("a"), FIRST)
    await run_all(queue, 1)
    assert now() == 0
    assert queue.planned == 0


async def test_of_several_plans_the_earliest_and_the_most_urgent_hold() -> None:
    queue = WorkQueue(max_in_flight=1)
    queue.add_after(leaf("a"), 30, REISSUE, "default")
    queue.add_after(leaf("a"), 60, EXPIRING)
    item = await take(queue)
    assert now() == 30
    assert (item.urgency, item.lane) == (EXPIRING, "default")


async def test_many_plans_that_are_due_together_all_run() -> None:
    queue = WorkQueue(max_in_flight=1)
    for number in range(2500):
        queue.add_after(leaf(str(number)), 10, RENEWAL)
    items = await run_all(queue, 2500)
    assert len({item.key for item in items}) == 2500
    assert now() == pytest.approx(10, abs=0.01)


async def test_a_discarded_key_is_gone_from_queue_plans_and_repeats() -> None:
    queue = WorkQueue(max_in_flight=2)
    queue.add(leaf("queued"), FIRST)
    queue.discard(leaf("queued"))
    queue.add(CONFIGURATION, CONTROL)
    queue.discard(CONFIGURATION)
    queue.add_after(leaf("planned"), 1, FIRST)
    queue.discard(leaf("planned"))
    queue.add(leaf("running"), FIRST)
    await take(queue)
    queue.add(leaf("running"), FIRST)
    queue.discard(leaf("running"))
    queue.discard(leaf("unknown"))
    queue.done(leaf("running"))
    await asyncio.sleep(10)
    assert await take_now(queue) is None


async def test_close_sends_waiting_workers_home_and_ignores_what_comes_later() -> None:
    queue = WorkQueue(max_in_flight=2)
    queue.add(leaf("running"), FIRST)
    await take(queue)
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(queue.get()) for _ in range(3)]
        await asyncio.sleep(1)
        queue.add_after(leaf("b"), 5, FIRST)
        queue.close()
        drained = group.create_task(queue.drained())
        await asyncio.sleep(1)
        assert not drained.done()
        queue.retry(leaf("running"))
    assert [task.result() for task in waiting] == [None, None, None]
    queue.add(leaf("late"), CONTROL)
    queue.add_after(leaf("late"), 0, CONTROL)
    assert await queue.get() is None
    await queue.drained()


async def test_a_cancelled_worker_passes_its_call_on() -> None:
    queue = WorkQueue(max_in_flight=2)
    first, second = asyncio.ensure_future(queue.get()), asyncio.ensure_future(queue.get())
    await asyncio.sleep(1)
    queue.add(leaf("a"), FIRST)
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    item = await second
    assert item is not None
    assert item.key == leaf("a")


async def test_a_worker_cancelled_while_idle_is_not_called() -> None:
    queue = WorkQueue(max_in_flight=2)
    first, second = asyncio.ensure_future(queue.get()), asyncio.ensure_future(queue.get())
    await asyncio.sleep(1)
    first.cancel()
    await asyncio.sleep(1)
    queue.add(leaf("a"), FIRST)
    assert (await second) is not None
    assert first.cancelled()


async def test_more_workers_than_places_wait_without_spinning() -> None:
    queue = WorkQueue(max_in_flight=1)
    queue.add(leaf("a"), FIRST, "default")
    queue.add(leaf("b"), FIRST, "default")
    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(take(queue)) for _ in range(4)]
        await asyncio.sleep(1000)
        assert sum(worker.done() for worker in workers) == 1
        queue.done(leaf("a"))
        await asyncio.sleep(0)
        queue.add(leaf("c"), FIRST)
        queue.add(leaf("d"), FIRST)
        for name in ("b", "c"):
            await asyncio.sleep(1)
            queue.done(leaf(name))


async def test_closing_a_queue_that_never_ran_is_fine() -> None:
    queue = WorkQueue(max_in_flight=1)
    queue.close()
    assert await queue.get() is None


@pytest.mark.parametrize("delay", [1 / 3, 0.1234567891, 2.0000004])
async def test_a_plan_between_two_ticks_of_the_loop_is_handed_out(delay: float) -> None:
    queue = WorkQueue(max_in_flight=1)
    queue.add_after(Key("leaf", "shop", "web"), delay, Urgency.RENEWAL)
    item = await queue.get()
    assert item is not None
    assert item.key.name == "web"
    queue.done(item.key)


async def test_reissue_keeps_its_rank_through_a_look_a_failure_and_a_second_word() -> None:
    queue = WorkQueue(max_in_flight=4)
    queue.add(leaf("a"), REISSUE, "default", (1.0, 0))
    queue.add(leaf("b"), REISSUE, "default", (2.0, 0))
    queue.add(leaf("c"), REISSUE, "default", (3.0, 0))
    queue.add(leaf("c"), REISSUE, "default", (0.5, 0))
    assert (await take(queue)).key == leaf("c")
    queue.retry(leaf("c"), 0.1)
    # Somebody edits the first one: it is looked at, and goes back to its place while that look runs.
    queue.add(leaf("a"), RENEWAL, "default")
    looked = await take(queue)
    assert (looked.key, looked.urgency) == (leaf("a"), RENEWAL)
    queue.add(leaf("a"), REISSUE, "default", (1.0, 0))
    queue.done(leaf("a"))
    await asyncio.sleep(1)
    assert [(item.key.name, item.urgency) for item in await run_all(queue, 3)] == [
        ("c", REISSUE),
        ("a", REISSUE),
        ("b", REISSUE),
    ]


async def test_planned_reissue_keeps_its_rank_whatever_is_planned_besides() -> None:
    queue = WorkQueue(max_in_flight=4)
    queue.add_after(leaf("a"), 5, REISSUE, "default", (2.0, 0))
    queue.add_after(leaf("a"), 1, REISSUE, "default", (1.0, 0))
    queue.add_after(leaf("b"), 1, REISSUE, "default", (1.5, 0))
    await asyncio.sleep(2)
    assert [item.key.name for item in await run_all(queue, 2)] == ["a", "b"]
