"""Workers share the event loop with everybody else."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from meshca.engine.intake import leaf_key
from meshca.engine.outcome import Outcome
from meshca.engine.queue import WorkQueue
from meshca.engine.work import Urgency
from meshca.engine.workers import Workers

pytestmark = pytest.mark.looptime

ITEMS = 200
WORKERS = 4


class Leaves:
    """A reconciler that finds nothing to ask or to write, as after a restart of a healthy CA."""

    def __init__(self) -> None:
        self.seen = 0

    async def reconcile(self, _namespace: str, _name: str, *, turn: bool) -> Outcome:
        assert not turn
        self.seen += 1
        return Outcome()


async def test_items_that_never_wait_do_not_keep_the_loop_from_others() -> None:
    queue, leaves = WorkQueue(max_in_flight=WORKERS), Leaves()
    for number in range(ITEMS):
        queue.add(leaf_key("shop", f"web-{number}"), Urgency.RENEWAL, "default")
    nobody = cast("Any", None)
    workers = Workers(
        queue=queue,
        timers=nobody,
        configurations=nobody,
        leaves=cast("Any", leaves),
        publisher=nobody,
        admissions=nobody,
        registrations=nobody,
        intermediates=nobody,
    )
    running = asyncio.create_task(workers.run(WORKERS))
    most, before = 0, 0
    while leaves.seen < ITEMS:
        await asyncio.sleep(0)
        most, before = max(most, leaves.seen - before), leaves.seen
    assert most <= WORKERS
    queue.close()
    await running
