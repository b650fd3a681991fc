"""What a new leader makes of a rotation before its watch has told of the leaves."""

from __future__ import annotations

import asyncio

import pytest

from meshca.api import names
from tests.fakes.engine import Cluster
from tests.fakes.turning import SHORT, events, states, trigger, turning

pytestmark = pytest.mark.looptime


async def reissuing() -> Cluster:
    """Return a cluster whose rotation waits for the holder of one leaf, and stopped."""
    cluster = Cluster()
    cluster.policy()
    cluster.configure(**SHORT)
    await asyncio.sleep(60)
    async with cluster.operator():
        await cluster.until_ready()
        cluster.leaf("manual")
        cluster.leaf("csr", renewal="Automatic")
        await cluster.until(lambda: all(cluster.ready(name)[0] == "Issued" for name in ("csr", "manual")))
        await asyncio.sleep(5)
        trigger(cluster, "one")
        await cluster.until(lambda: cluster.ready("manual")[0] == "Rotate")
        await asyncio.sleep(30)
    assert turning(cluster) == ("True", "Reissue")
    cluster.written()
    return cluster


async def test_100_restart_in_the_middle_of_reissuing_writes_nothing_and_completes_nothing() -> None:
    cluster = await reissuing()
    async with cluster.operator():
        await asyncio.sleep(120)
        assert cluster.written() == []
        assert turning(cluster) == ("True", "Reissue")
        assert "RotationCompleted" not in events(cluster)
        cluster.server.delete(names.LEAF, "manual", "shop")
        await cluster.until(lambda: turning(cluster) == ("False", "Completed"))


async def test_restart_says_nothing_new_of_a_root_that_waits_for_a_leaf() -> None:
    cluster = await reissuing()
    async with cluster.operator():
        [old] = [name for name, state in states(cluster).items() if state == "Retiring"]
        cluster.server.delete(names.CA_ROOT, old)
        await asyncio.sleep(60)
        found = cluster.server.find(names.CA_ROOT, old) or {}
        assert "shop/manual" in found["status"]["conditions"][0]["message"]
    cluster.written()
    async with cluster.operator():
        await asyncio.sleep(120)
        assert cluster.written() == []
