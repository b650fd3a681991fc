"""The work queue under virtual time: what is handed out, in which order, and when."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest

from meshca.engine.backoff import CAP
from meshca.engine.queue import Item, Key, Urgency, WorkQueue

pytestmark = pytest.mark.looptime

CONTROL, SPREAD, EXPIRING, FIRST, RENEWAL, REISSUE = Urgency


def leaf(name: str, namespace: str = "shop") -> Key:
    return Key("LeafCertificateRequest", namespace, name)


CONFIGURATION = Key("CAConfiguration", "", "default")


def now() -> float:
    return asyncio.get_running_loop().time()


async def take(queue: WorkQueue) -> Item:
    item = await queue.get()
    assert item is not None
    return item


async def take_now(queue: WorkQueue) -> Item | None:
    """Take what is ready at this moment, without letting time pass."""
    before = now()
    try:
        async with asyncio.timeout(0):
            item = await queue.get()
    except TimeoutError:
        item = None
    assert now() == before
    return item


async def run_all(queue: WorkQueue, count: int) -> list[Item]:
    items = []
    for _ in range(count):
        item = await take(queue)
        items.append(item)
        queue.done(item.key)
    return items


async def test_a_key_added_twice_is_one_item_with_the_greater_urgency() -> None:
    queue = WorkQueue(max_in_flight=4)
    queue.add(leaf("a"), REISSUE)
    queue.add(leaf("a"), FIRST)
    queue.add(leaf("a"), RENEWAL)
    item = await take(queue)
    assert (item.key, item.urgency) == (leaf("a"), FIRST)
    assert await take_now(queue) is None


async def test_a_key_added_in_flight_runs_once_more_afterwards_and_never_beside() -> None:
    queue = WorkQueue(max_in_flight=4)
    queue.add(leaf("a"), FIRST)
    await take(queue)
    queue.add(leaf("a"), RENEWAL)
    queue.add(leaf("a"), EXPIRING)
    assert await take_now(queue) is None
    queue.done(leaf("a"))
    assert (await take(queue)).urgency is EXPIRING
    queue.done(leaf("a"))
    assert await take_now(queue) is None


async def test_a_worker_that_waits_is_woken_by_the_next_key() -> None:
    queue = WorkQueue(max_in_flight=4)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(take(queue))
        await asyncio.sleep(7)
        queue.add(leaf("a"), FIRST)
    assert waiting.result().key == leaf("a")
    assert waiting.result().waited == 0
    assert now() == 7


async def test_order_by_urgency() -> None:
    queue = WorkQueue(max_in_flight=1)
    for urgency in reversed(Urgency):
        queue.add(leaf(urgency.name), urgency, "default")
    assert [item.urgency for item in await run_all(queue, 6)] == list(Urgency)


async def test_a_third_of_the_turns_goes_to_renewals_while_first_issues_flood_in() -> None:
    queue = WorkQueue(max_in_flight=1)
    for number in range(100):
        queue.add(leaf(f"crash-{number}"), FIRST)
        queue.add(leaf(f"healthy-{number}"), RENEWAL)
    urgencies = [item.urgency for item in await run_all(queue, 100)]
    assert urgencies.count(RENEWAL) == 30
    assert RENEWAL in urgencies[:4]


async def test_a_namespace_with_one_request_is_not_behind_one_with_a_thousand() -> None:
    queue = WorkQueue(max_in_flight=1)
    for number in range(1000):
        queue.add(leaf(str(number), "loud"), FIRST)
    queue.add(leaf("only", "quiet"), FIRST)
    assert leaf("only", "quiet") in [item.key for item in await run_all(queue, 2)]


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


async def test_depth_age_and_in_flight_are_visible() -> None:
    queue = WorkQueue(max_in_flight=2)
    assert queue.oldest_age() == 0
    queue.add(leaf("slow"), REISSUE, "default")
    await asyncio.sleep(100)
    assert queue.oldest_age() == 0
    queue.add(leaf("a"), FIRST, "default")
    queue.add(CONFIGURATION, CONTROL)
    await asyncio.sleep(3)
    assert queue.oldest_age() == 3
    assert queue.depth() == {CONTROL: 1, SPREAD: 0, EXPIRING: 0, FIRST: 1, RENEWAL: 0, REISSUE: 1}
    await take(queue)
    assert queue.in_flight == 1
    queue.add(leaf("slow"), EXPIRING)
    assert queue.oldest_age() == 3


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


async def test_setting_the_same_limits_again_changes_nothing() -> None:
    queue = WorkQueue(max_in_flight=4)
    for _ in range(2):
        queue.set_limits("default", per_second=1)
        queue.add(leaf("a"), FIRST, "default")
        queue.add(leaf("b"), FIRST, "default")
    await take(queue)
    queue.set_limits("default", per_second=1)
    assert await take_now(queue) is None


async def test_closing_a_queue_that_never_ran_is_fine() -> None:
    queue = WorkQueue(max_in_flight=1)
    queue.close()
    assert await queue.get() is None


async def test_tens_of_thousands_of_keys_pass_in_linear_time() -> None:
    """Anything quadratic would take minutes here."""
    queue = WorkQueue(max_in_flight=16)
    keys = [leaf(str(number), f"ns-{number % 500}") for number in range(30_000)]
    for number, key in enumerate(keys):
        queue.add(key, FIRST if number % 2 else RENEWAL, "default")
    for key in keys[::3]:
        queue.add(key, EXPIRING, "default")
    assert queue.depth()[EXPIRING] == 10_000
    assert {item.key for item in await run_all(queue, 30_000)} == set(keys)
    assert await take_now(queue) is None


def test_keys_read_well_in_logs() -> None:
    assert str(leaf("a")) == "LeafCertificateRequest/shop/a"
    assert str(CONFIGURATION) == "CAConfiguration/default"


async def test_lanes_that_hold_nothing_are_forgotten() -> None:
    queue = WorkQueue(max_in_flight=1)
    queue.set_limits("kept", per_second=1)
    queue.set_limits("reset", per_second=1)
    queue.set_limits("reset")
    for number in range(100):
        queue.add(leaf("a"), FIRST, f"made-up-{number}")
        await run_all(queue, 1)
    assert list(queue._core._lanes) == ["kept"]


@pytest.mark.parametrize("delay", [1 / 3, 0.1234567891, 2.0000004])
async def test_a_plan_between_two_ticks_of_the_loop_is_handed_out(delay: float) -> None:
    queue = WorkQueue(max_in_flight=1)
    queue.add_after(Key("leaf", "shop", "web"), delay, Urgency.RENEWAL)
    item = await queue.get()
    assert item is not None
    assert item.key.name == "web"
    queue.done(item.key)


async def test_104_reissues_go_by_rank_over_all_namespaces() -> None:
    queue = WorkQueue(max_in_flight=4)
    ranks = {"a": (3.0, 1), "b": (1.0, 9), "c": (2.0, 5), "d": (2.0, 4)}
    for name, rank in ranks.items():
        queue.add(leaf(name, name), REISSUE, "default", rank)
    assert [item.key.name for item in await run_all(queue, 4)] == ["b", "d", "c", "a"]


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


async def test_rank_of_a_running_reissue_is_the_last_one_told() -> None:
    queue = WorkQueue(max_in_flight=4)
    queue.add(leaf("a"), RENEWAL, "default")
    await take(queue)
    queue.add(leaf("b"), REISSUE, "default", (2.0, 0))
    queue.add(leaf("a"), REISSUE, "default", (3.0, 0))
    queue.add(leaf("a"), REISSUE, "default", (1.0, 0))
    queue.done(leaf("a"))
    assert [item.key.name for item in await run_all(queue, 2)] == ["a", "b"]


async def test_planned_reissue_keeps_its_rank_whatever_is_planned_besides() -> None:
    queue = WorkQueue(max_in_flight=4)
    queue.add_after(leaf("a"), 5, REISSUE, "default", (2.0, 0))
    queue.add_after(leaf("a"), 1, REISSUE, "default", (1.0, 0))
    queue.add_after(leaf("b"), 1, REISSUE, "default", (1.5, 0))
    await asyncio.sleep(2)
    assert [item.key.name for item in await run_all(queue, 2)] == ["a", "b"]


async def test_a_bundle_for_every_place_takes_turns_with_leaves_and_holds_up_no_new_place() -> None:
    queue = WorkQueue(max_in_flight=4)
    for number in range(100):
        queue.add(Key("bundle", f"place-{number}", "default"), SPREAD)
    for number in range(10):
        queue.add(leaf(str(number)), FIRST, "default")
    queue.add(Key("bundle", "new", "default"), CONTROL)
    queue.add(Key("bundle", "place-90", "default"), CONTROL)
    items = await run_all(queue, 22)
    assert [item.key.namespace for item in items[:2]] == ["new", "place-90"]
    assert [item.urgency for item in items[2:]] == [SPREAD, FIRST] * 10
    for _ in range(3):
        assert (await take(queue)).urgency is SPREAD
    assert await take_now(queue) is None, "a place is kept for what is urgent"
    queue.add(CONFIGURATION, CONTROL)
    assert (await take(queue)).key == CONFIGURATION
