"""Takes items out of a work queue under virtual time."""

from __future__ import annotations

import asyncio

from meshca.engine.queue import Item, Key, Urgency, WorkQueue

CONTROL, SPREAD, EXPIRING, FIRST, RENEWAL, REISSUE = Urgency
CONFIGURATION = Key("CAConfiguration", "", "default")


def leaf(name: str, namespace: str = "shop") -> Key:
    return Key("LeafCertificateRequest", namespace, name)


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
