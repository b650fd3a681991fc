"""The work queue under limits: what waits for a token or a place, what passes it, who is told."""

from __future__ import annotations

import asyncio

import pytest

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


async def test_146_one_per_second_lets_ten_through_in_nine_seconds_and_drops_none() -> None:
    queue = WorkQueue(max_in_flight=16)
    queue.set_limits("default", per_second=1)
    for number in range(10):
        queue.add(leaf(str(number)), FIRST, "default")
    times = []
    for _ in range(10):
        await take(queue)
        times.append(now())
    assert times == [float(second) for second in range(10)]


async def test_146_without_limits_all_go_at_once() -> None:
    queue = WorkQueue(max_in_flight=16)
    for number in range(10):
        queue.add(leaf(str(number)), FIRST, "default")
    for _ in range(10):
        assert await take_now(queue) is not None


async def test_146_concurrency_one_serialises() -> None:
    queue = WorkQueue(max_in_flight=16)
    queue.set_limits("default", concurrent=1)
    queue.add(leaf("a"), FIRST, "default")
    queue.add(leaf("b"), FIRST, "default")
    first = await take(queue)
    assert await take_now(queue) is None
    queue.done(first.key)
    assert await take_now(queue) is not None


@pytest.mark.parametrize(
    ("rate", "gap"), [(0.5, 2.0), (0.1, 10.0), (3, 1 / 3)], ids=["013-half", "tenth", "3"]
)
async def test_013_fractions_are_rates(rate: float, gap: float) -> None:
    queue = WorkQueue(max_in_flight=16)
    queue.set_limits("default", per_second=rate, concurrent=1)  # the cap is ignored beside a rate
    for number in range(3):
        queue.add(leaf(str(number)), FIRST, "default")
    for _ in range(3):
        await take(queue)
    assert now() == pytest.approx(2 * gap)


async def test_order_is_decided_when_the_token_comes_not_when_a_key_is_added() -> None:
    queue = WorkQueue(max_in_flight=16)
    queue.set_limits("default", per_second=1)
    for name in ("token", "early", "later"):
        queue.add(leaf(name), FIRST, "default")
    await take(queue)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(take(queue))
        await asyncio.sleep(0.9)
        queue.add(leaf("dying"), EXPIRING, "default")
    assert waiting.result().key == leaf("dying")
    assert now() == 1


async def test_control_passes_a_closed_lane_and_finds_a_place_beside_slow_leaves() -> None:
    queue = WorkQueue(max_in_flight=3)
    queue.set_limits("default", per_second=0.001)
    for number in range(5):
        queue.add(leaf(str(number)), FIRST, "default")
        queue.add(leaf(f"free-{number}"), FIRST)
    assert await take_now(queue) is not None
    assert await take_now(queue) is not None
    assert await take_now(queue) is None
    queue.add(CONFIGURATION, CONTROL)
    assert (await take(queue)).key == CONFIGURATION


async def test_one_closed_lane_does_not_hold_up_another() -> None:
    queue = WorkQueue(max_in_flight=16)
    queue.set_limits("slow", per_second=0.001)
    for number in range(3):
        queue.add(leaf(f"slow-{number}"), EXPIRING, "slow")
        queue.add(leaf(f"fast-{number}"), FIRST, "fast")
    taken = [await take(queue) for _ in range(4)]
    assert [item.lane for item in taken].count("fast") == 3


async def test_lanes_take_turns_however_long_one_is() -> None:
    queue = WorkQueue(max_in_flight=1)
    for number in range(100):
        queue.add(leaf(str(number)), FIRST, "long")
    queue.add(leaf("only"), FIRST, "short")
    assert leaf("only") in [item.key for item in await run_all(queue, 2)]


async def test_renewals_of_one_lane_do_not_pay_for_those_of_another() -> None:
    queue = WorkQueue(max_in_flight=1)
    for number in range(200):
        queue.add(leaf(f"renewal-{number}"), RENEWAL, "calm")
        queue.add(leaf(f"crash-{number}"), FIRST, "busy")
        queue.add(leaf(f"healthy-{number}"), RENEWAL, "busy")
    busy = [item.urgency for item in await run_all(queue, 200) if item.lane == "busy"]
    assert busy.count(RENEWAL) >= 0.3 * len(busy)
    assert busy.count(FIRST) > 0.3 * len(busy)


async def test_two_lanes_that_open_at_the_same_moment_both_get_a_worker() -> None:
    queue = WorkQueue(max_in_flight=16)
    for lane in ("one", "two"):
        queue.set_limits(lane, per_second=1)
        for number in range(2):
            queue.add(leaf(f"{lane}-{number}"), FIRST, lane)
    await run_all(queue, 2)
    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(take(queue)) for _ in range(2)]
        await asyncio.sleep(1.001)
        assert all(worker.done() for worker in workers)


async def test_146_the_rate_holds_for_workers_that_are_fast() -> None:
    queue = WorkQueue(max_in_flight=16)
    queue.set_limits("default", per_second=1)
    for number in range(4):
        queue.add(leaf(str(number)), FIRST, "default")
    await run_all(queue, 4)
    assert now() == 3


async def test_a_raised_limit_takes_effect_at_once() -> None:
    queue = WorkQueue(max_in_flight=16)
    queue.set_limits("default", per_second=0.001)
    for number in range(3):
        queue.add(leaf(str(number)), FIRST, "default")
    await take(queue)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(take(queue))
        await asyncio.sleep(5)
        queue.set_limits("default", per_second=0.1)
    assert waiting.result()
    assert now() == 10
    queue.set_limits("default")
    assert await take_now(queue) is not None


async def test_reissues_have_a_pace_of_their_own() -> None:
    queue = WorkQueue(max_in_flight=16)
    queue.set_limits("default", reissue_per_second=2)
    for number in range(3):
        queue.add(leaf(str(number)), REISSUE, "default")
        queue.add(leaf(f"new-{number}"), FIRST, "default")
    for _ in range(4):
        assert await take_now(queue) is not None
    for second in (0.5, 1.0):
        await take(queue)
        assert now() == second


async def test_what_signed_nothing_gives_its_token_back() -> None:
    queue = WorkQueue(max_in_flight=16)
    queue.set_limits("default", per_second=1)
    for number in range(5):
        queue.add(leaf(str(number)), FIRST, "default")
    for _ in range(3):
        item = await take_now(queue)
        assert item is not None
        queue.done(item.key, spent=False)
    assert await take_now(queue) is not None
    assert await take_now(queue) is None


async def test_holders_behind_a_limit_are_told_once_after_five_seconds() -> None:
    told: list[tuple[float, Key, Urgency]] = []
    queue = WorkQueue(max_in_flight=16, on_throttled=lambda key, urgency: told.append((now(), key, urgency)))
    queue.set_limits("default", per_second=0.5)
    for number in range(6):
        queue.add(leaf(str(number)), FIRST, "default")
    queue.add(leaf("moved"), REISSUE, "default")
    queue.add(leaf("free"), FIRST)
    for _ in range(8):
        await take(queue)
    assert [(when, key.name) for when, key, _ in told] == [(5.0, "3"), (5.0, "4"), (5.0, "5")]


async def test_holders_are_told_when_a_limit_appears_or_their_lane_is_learnt_late() -> None:
    told: list[Key] = []
    queue = WorkQueue(max_in_flight=1, on_throttled=lambda key, _: told.append(key))
    queue.add(CONFIGURATION, CONTROL)
    await take(queue)
    queue.add(leaf("a"), FIRST, "default")
    queue.add(leaf("b"), FIRST)
    await asyncio.sleep(60)
    assert told == []
    queue.set_limits("default", concurrent=1)
    queue.add(leaf("b"), FIRST, "default")
    queue.set_limits("default", concurrent=2)
    queue.set_limits("default")
    queue.set_limits("default", concurrent=1)
    await asyncio.sleep(60)
    assert told == [leaf("a"), leaf("b")]


async def test_a_whole_fleet_behind_a_limit_is_told() -> None:
    told: list[Key] = []
    queue = WorkQueue(max_in_flight=1, on_throttled=lambda key, _: told.append(key))
    queue.set_limits("default", per_second=0.001)
    for number in range(2500):
        queue.add(leaf(str(number)), RENEWAL, "default")
    await asyncio.sleep(6)
    assert len(set(told)) == len(told) == 2500


async def test_nobody_is_told_when_the_limit_went_away_in_time() -> None:
    told: list[Key] = []
    queue = WorkQueue(max_in_flight=1, on_throttled=lambda key, _: told.append(key))
    queue.set_limits("default", concurrent=1)
    queue.add(leaf("a"), FIRST, "default")
    queue.set_limits("default")
    await asyncio.sleep(60)
    assert told == []


async def test_setting_the_same_limits_again_changes_nothing() -> None:
    queue = WorkQueue(max_in_flight=4)
    for _ in range(2):
        queue.set_limits("default", per_second=1)
        queue.add(leaf("a"), FIRST, "default")
        queue.add(leaf("b"), FIRST, "default")
    await take(queue)
    queue.set_limits("default", per_second=1)
    assert await take_now(queue) is None


async def test_lanes_that_hold_nothing_are_forgotten() -> None:
    queue = WorkQueue(max_in_flight=1)
    queue.set_limits("kept", per_second=1)
    queue.set_limits("reset", per_second=1)
    queue.set_limits("reset")
    for number in range(100):
        queue.add(leaf("a"), FIRST, f"made-up-{number}")
        await run_all(queue, 1)
    assert list(queue._core._lanes) == ["kept"]
