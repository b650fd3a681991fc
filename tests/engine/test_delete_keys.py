"""Keys that are to go with their configuration, and keys that stay."""

from __future__ import annotations

import asyncio

import pytest

from meshca.api import names
from tests.fakes.engine import Cluster, DieAfter
from tests.fakes.turning import active, states, with_leaves

pytestmark = pytest.mark.looptime


async def mark(cluster: Cluster) -> None:
    notes = {"metadata": {"annotations": {names.ANNOTATION_DELETE_KEYS: "default"}}}
    cluster.server.merge(names.CA_CONFIGURATION, "default", "", notes)
    await asyncio.sleep(5)


def nothing_left(cluster: Cluster) -> bool:
    return not cluster.secrets() and not states(cluster)


async def test_keys_go_with_a_configuration_that_was_marked() -> None:
    async with with_leaves() as (cluster, witness):
        await mark(cluster)
        cluster.server.delete(names.CA_CONFIGURATION, "default")
        await cluster.until(lambda: nothing_left(cluster), 60)
        witness.broken.clear()  # the one exception: that is what was asked for
        await asyncio.sleep(5)
        cluster.written()
        await asyncio.sleep(600)
        assert cluster.written() == []


async def test_keys_stay_when_the_mark_was_taken_back() -> None:
    async with with_leaves() as (cluster, _):
        before = active(cluster)
        await mark(cluster)
        notes = {"metadata": {"annotations": {names.ANNOTATION_DELETE_KEYS: None}}}
        cluster.server.merge(names.CA_CONFIGURATION, "default", "", notes)
        await asyncio.sleep(5)
        cluster.server.delete(names.CA_CONFIGURATION, "default")
        await asyncio.sleep(60)
        assert list(states(cluster)) == [before]
        assert len(cluster.secrets()) == 2


@pytest.mark.parametrize("count", range(7))
async def test_marked_keys_go_although_the_leader_ended_before_they_were_gone(count: int) -> None:
    async with with_leaves() as (cluster, _):
        await mark(cluster)
    async with cluster.operator():
        await asyncio.sleep(5)
        cluster.server.faults.append(DieAfter(writes=count, times=None))
        cluster.server.delete(names.CA_CONFIGURATION, "default")
        await asyncio.sleep(10)
    cluster.server.faults.clear()
    async with cluster.operator():
        await cluster.until(lambda: nothing_left(cluster), 60)
