"""Wishes that change while a root is being rotated: taken back, replaced, queued, returned to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from meshca.api import names
from tests.fakes.turning import (
    active,
    bundle,
    events,
    states,
    status,
    trigger,
    turning,
    until_completed,
    with_leaves,
)

if TYPE_CHECKING:
    from tests.fakes.engine import Cluster

pytestmark = pytest.mark.looptime
SLOW = {"minimumPublishTime": "10m"}


async def publishing(cluster: Cluster, text: str) -> str:
    """Ask for a rotation that stays in Publish for ten minutes; returns the new root."""
    known = set(states(cluster))
    trigger(cluster, text, **SLOW)
    await cluster.until(lambda: turning(cluster) == ("True", "Publish"), 30)
    await cluster.until(lambda: len(bundle(cluster)) == 2, 30)
    [new] = set(states(cluster)) - known
    return new


async def test_102_rotation_taken_back_before_its_activation_leaves_nothing_behind() -> None:
    async with with_leaves() as (cluster, witness):
        first = active(cluster)
        before = {item["metadata"]["name"]: item["status"] for item in cluster.leaves()}
        new = await publishing(cluster, "one")
        assert states(cluster)[new] == "Published"
        trigger(cluster, None)
        await cluster.until(lambda: turning(cluster) == ("False", "Aborted"), 30)
        await cluster.until(lambda: list(states(cluster)) == [first], 30)
        await cluster.until(lambda: len(bundle(cluster)) == 1, 30)
        await asyncio.sleep(5)
        assert witness.active == []
        assert len(cluster.secrets("root")) == len(cluster.secrets("signer")) == 1
        assert "to" not in status(cluster)["rotation"] or "phase" not in status(cluster)["rotation"]
        assert {item["metadata"]["name"]: item["status"] for item in cluster.leaves()} == before
        assert events(cluster).count("RotationAborted") == 1
        cluster.written()
        await asyncio.sleep(1200)
        assert cluster.written() == []


async def test_098_wish_that_is_replaced_before_its_activation_is_discarded() -> None:
    async with with_leaves() as (cluster, witness):
        cluster.server.delete(names.LEAF, "manual", "shop")
        first = active(cluster)
        given_up = await publishing(cluster, "one")
        trigger(cluster, "two", minimumPublishTime=None)
        last = await until_completed(cluster, after=first)
        assert given_up not in states(cluster)
        assert witness.active == [last]
        assert set(states(cluster)) == {first, last}


async def test_103_106_three_rotations_a_second_apart_end_on_the_last_wish() -> None:
    async with with_leaves() as (cluster, witness):
        cluster.server.delete(names.LEAF, "manual", "shop")
        for text in ("one", "two", "three"):
            trigger(cluster, text)
            await asyncio.sleep(1)
        await cluster.until(lambda: turning(cluster)[1] in {"Completed", "RotationQueued"}, 60)
        await asyncio.sleep(2 * 4300)
        assert turning(cluster) == ("False", "Completed")
        [last] = states(cluster)
        root = cluster.server.find(names.CA_ROOT, last)
        assert root is not None
        assert root["metadata"]["annotations"][names.ANNOTATION_TRIGGER] == "three"
        assert witness.active[-1] == last
        assert witness.most_live <= 3


async def test_fourth_root_waits_until_the_first_is_pruned() -> None:
    async with with_leaves() as (cluster, witness):
        cluster.server.delete(names.LEAF, "manual", "shop")
        first = active(cluster)
        second = await complete(cluster, "one")
        third = await complete(cluster, "two")
        trigger(cluster, "three")
        await cluster.until(lambda: turning(cluster) == ("False", "RotationQueued"), 30)
        message = cluster.condition("RotationInProgress")[2]
        assert repr(first) in message
        assert set(states(cluster)) == {first, second, third}
        assert cluster.condition()[:2] == ("True", "Initialised")
        await cluster.until(lambda: active(cluster) != third, 4400)
        await until_completed(cluster)
        assert first not in states(cluster)
        assert witness.most_live == 3


async def complete(cluster: Cluster, text: str) -> str:
    before = active(cluster)
    trigger(cluster, text)
    return await until_completed(cluster, after=before)


async def test_back_to_a_root_that_is_still_trusted_activates_it_again() -> None:
    async with with_leaves() as (cluster, witness):
        cluster.server.delete(names.LEAF, "manual", "shop")
        first = active(cluster)
        second = await complete(cluster, "one")
        before = cluster.server.find(names.CA_ROOT, first)
        trigger(cluster, None)
        seen: set[str] = set()
        while active(cluster) != first:
            seen.add(states(cluster)[first])
            assert len(bundle(cluster)) == 2
            await asyncio.sleep(0.02)
        await until_completed(cluster, after=second)
        assert seen <= {"Retiring", "Published"}
        assert witness.active == [second, first]
        assert states(cluster) == {first: "Active", second: "Retiring"}
        root = cluster.server.find(names.CA_ROOT, first)
        assert root is not None
        assert before is not None
        assert root["metadata"]["uid"] == before["metadata"]["uid"]
        assert len(root["status"]["crossCertificates"]) == 1
        await cluster.until(lambda: list(states(cluster)) == [first], 4400)
        await asyncio.sleep(5)
        assert len(bundle(cluster)) == 1


async def test_return_that_is_itself_taken_back_keeps_the_stored_time_of_the_prune() -> None:
    async with with_leaves() as (cluster, witness):
        cluster.server.delete(names.LEAF, "manual", "shop")
        first = active(cluster)
        second = await complete(cluster, "one")
        trigger(cluster, None, **SLOW)
        await cluster.until(lambda: states(cluster)[first] == "Published", 30)
        await asyncio.sleep(60)
        trigger(cluster, "one")
        await cluster.until(lambda: states(cluster)[first] == "Retiring", 30)
        await cluster.until(lambda: list(states(cluster)) == [second], 4400)
        assert witness.active == [second]
