"""The work queue under virtual time: what is handed out, and in which order."""

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
    SPREAD,
    leaf,
    now,
    run_all,
    take,
    take_now,
)

pytestmark = pytest.mark.looptime


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


async def test_104_reissues_go_by_rank_over_all_namespaces() -> None:
    queue = WorkQueue(max_in_flight=4)
    ranks = {"a": (3.0, 1), "b": (1.0, 9), "c": (2.0, 5), "d": (2.0, 4)}
    for name, rank in ranks.items():
        queue.add(leaf(name, name), REISSUE, "default", rank)
    assert [item.key.name for item in await run_all(queue, 4)] == ["b", "d", "c", "a"]


async def test_rank_of_a_running_reissue_is_the_last_one_told() -> None:
    queue = WorkQueue(max_in_flight=4)
    queue.add(leaf("a"), RENEWAL, "default")
    await take(queue)
    queue.add(leaf("b"), REISSUE, "default", (2.0, 0))
    queue.add(leaf("a"), REISSUE, "default", (3.0, 0))
    queue.add(leaf("a"), REISSUE, "default", (1.0, 0))
    queue.done(leaf("a"))
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
