"""How a root leaves: in its time, by deletion, by prune-now; what holds it, and who comes late."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from meshca.api import names
from tests.fakes.apiserver.faults import Fault
from tests.fakes.engine import OPERATOR, ready
from tests.fakes.turning import (
    active,
    bundle,
    events,
    states,
    trigger,
    turned,
    until_completed,
    wish,
    with_leaves,
)

if TYPE_CHECKING:
    from tests.fakes.engine import Cluster

pytestmark = pytest.mark.looptime
JSON = dict[str, Any]


async def rotate(cluster: Cluster, text: str = "one") -> tuple[str, str]:
    """Rotate to the end; returns the old and the new root."""
    if cluster.server.find(names.LEAF, "manual", "shop"):
        cluster.server.delete(names.LEAF, "manual", "shop")
    before = active(cluster)
    trigger(cluster, text)
    return before, await until_completed(cluster, after=before)


def root(cluster: Cluster, name: str) -> JSON:
    return cluster.server.find(names.CA_ROOT, name) or {}


def note(cluster: Cluster, name: str, key: str, value: str | None) -> None:
    cluster.server.merge(names.CA_ROOT, name, "", {"metadata": {"annotations": {key: value}}})


def prune_now(cluster: Cluster, name: str) -> None:
    note(cluster, name, names.ANNOTATION_PRUNE_NOW, root(cluster, name)["status"]["fingerprint"])


async def gone(cluster: Cluster, name: str, seconds: float = 700.0) -> None:
    await cluster.until(lambda: name not in states(cluster), seconds)


async def test_130_root_goes_within_seconds_of_its_stored_time_of_72_hours() -> None:
    spec: JSON = {"trustBundle": {"clusterTrustBundle": False}}
    async with ready(**spec) as cluster, turned(cluster):
        cluster.leaf(renewal="Automatic")
        await cluster.until_said("Issued")
        old, new = await rotate(cluster)
        due = 72 * 3600 + 600
        assert root(cluster, old)["status"]["prunableAfter"] > root(cluster, old)["status"]["rotatedOutAt"]
        await asyncio.sleep(due - 300)
        assert states(cluster)[old] == "Retiring"
        assert len(bundle(cluster)) == 2
        await gone(cluster, old, 320)
        await asyncio.sleep(5)
        assert len(bundle(cluster)) == 1
        assert len(cluster.secrets("root")) == len(cluster.secrets("signer")) == 1
        assert "crossCertificates" not in root(cluster, new)["status"]
        assert events(cluster).count("RootPruned") == 1


async def test_130_deleted_root_goes_soon_when_nobody_needs_it() -> None:
    async with with_leaves() as (cluster, _):
        old, new = await rotate(cluster)
        cluster.server.delete(names.CA_ROOT, old)
        await gone(cluster, old)
        await asyncio.sleep(5)
        assert list(states(cluster)) == [new]
        assert len(bundle(cluster)) == 1
        assert len(cluster.secrets("root")) == 1
        ends = {name: end for (_, name), end in cluster.tally.roots.items()}
        assert ends.pop(old) is None, "no alarm about a root that is gone"
        assert ends.pop(new) is not None


async def test_131_deleted_root_that_manual_leaves_need_waits_and_lists_them() -> None:
    async with with_leaves() as (cluster, _):
        for number in range(12):
            cluster.leaf(f"hand-{number:02}")
        await cluster.until(lambda: all(item.get("status") for item in cluster.leaves()))
        old = active(cluster)
        trigger(cluster, "one")
        await cluster.until(lambda: active(cluster) != old, 30)
        cluster.server.delete(names.CA_ROOT, old)
        await asyncio.sleep(60)
        assert states(cluster)[old] == "Retiring"
        [said] = root(cluster, old)["status"]["conditions"]
        assert "13 leaves need it" in said["message"]
        assert "shop/hand-00" in said["message"]
        assert len(bundle(cluster)) == 2
        for item in cluster.leaves():
            if item["metadata"]["name"].startswith(("hand", "manual")):
                cluster.server.delete(names.LEAF, item["metadata"]["name"], "shop")
        await gone(cluster, old)


async def test_131_deletion_of_the_active_root_waits_until_another_is_active() -> None:
    async with with_leaves() as (cluster, _):
        first = active(cluster)
        cluster.server.delete(names.CA_ROOT, first)
        await asyncio.sleep(60)
        assert states(cluster)[first] == "Active"
        assert "rotate first" in root(cluster, first)["status"]["conditions"][0]["message"]
        assert cluster.condition()[:2] == ("True", "Initialised")
        cluster.server.delete(names.LEAF, "manual", "shop")
        trigger(cluster, "one")
        await gone(cluster, first)


async def test_prune_now_removes_a_root_whoever_needs_it_with_an_event() -> None:
    async with with_leaves() as (cluster, witness):
        old = active(cluster)
        trigger(cluster, "one")
        await cluster.until(lambda: active(cluster) != old, 30)
        await asyncio.sleep(5)
        held = [item["spec"]["certificate"] for item in cluster.server.all(names.CA_ROOT)]
        assert len(held) == 2
        # The manual leaf still needs it: that is what the annotation overrides.
        prune_now(cluster, old)
        await gone(cluster, old)
        await asyncio.sleep(5)
        assert len(bundle(cluster)) == 1
        assert events(cluster).count("RootPruned") == 1
        assert any(said.startswith("I3") for said in witness.broken), "the price of prune-now"
        witness.broken.clear()


async def test_prune_now_of_another_fingerprint_or_of_the_active_root_does_nothing() -> None:
    async with with_leaves() as (cluster, _):
        old, new = await rotate(cluster)
        note(cluster, old, names.ANNOTATION_PRUNE_NOW, "0123")
        prune_now(cluster, new)
        await asyncio.sleep(60)
        assert states(cluster) == {old: "Retiring", new: "Active"}


async def test_prune_now_of_the_active_root_is_not_granted_when_it_is_active_no_more() -> None:
    async with with_leaves() as (cluster, _):
        first = active(cluster)
        prune_now(cluster, first)
        await asyncio.sleep(60)
        assert "rotate first" in root(cluster, first)["status"]["conditions"][0]["message"]
        _, second = await rotate(cluster)
        await asyncio.sleep(60)
        assert states(cluster) == {first: "Retiring", second: "Active"}
        assert names.ANNOTATION_PRUNE_NOW not in root(cluster, first)["metadata"]["annotations"]
        assert events(cluster).count("PruneRefused") == 1
        prune_now(cluster, first)
        await gone(cluster, first)


async def test_prune_now_is_refused_while_an_older_trusted_root_signed_the_root() -> None:
    async with with_leaves() as (cluster, _):
        first, second = await rotate(cluster)
        _, third = await rotate(cluster, "two")
        prune_now(cluster, second)
        await asyncio.sleep(30)
        assert states(cluster)[second] == "Retiring"
        assert repr(first) in root(cluster, second)["status"]["conditions"][0]["message"]
        prune_now(cluster, first)
        await gone(cluster, first)
        await gone(cluster, second)
        assert list(states(cluster)) == [third]


@pytest.mark.parametrize("count", range(10))
async def test_two_leaders_prune_one_root_once(count: int) -> None:
    async with with_leaves() as (cluster, witness):
        old, new = await rotate(cluster)
        slow = Fault(user=OPERATOR, writes_only=True, times=count, delay=0.7)
        async with cluster.operator():
            await asyncio.sleep(5)
            cluster.server.faults.append(slow)
            cluster.server.delete(names.CA_ROOT, old)
            await gone(cluster, old)
            await asyncio.sleep(120)
        assert list(states(cluster)) == [new]
        assert witness.active == [new]
        assert len(cluster.secrets("root")) == len(cluster.secrets("signer")) == 1


async def test_wish_for_a_root_that_is_being_pruned_makes_it_anew() -> None:
    async with with_leaves() as (cluster, witness):
        old, _ = await rotate(cluster)
        finalizers = [*root(cluster, old)["metadata"]["finalizers"], "example.org/backup"]
        cluster.server.merge(names.CA_ROOT, old, "", {"metadata": {"finalizers": finalizers}})
        cluster.server.delete(names.CA_ROOT, old)
        await cluster.until(lambda: states(cluster)[old] == "Pruned", 700)
        trigger(cluster, None)
        await asyncio.sleep(30)
        assert cluster.condition("RotationInProgress")[:2] == ("False", "RotationQueued")
        assert repr(old) in cluster.condition("RotationInProgress")[2]
        cluster.server.merge(names.CA_ROOT, old, "", {"metadata": {"finalizers": []}})
        await gone(cluster, old)
        again = await until_completed(cluster, after=witness.active[-1])
        assert again != old


async def test_216_shorter_leaves_do_not_make_a_root_go_early_nor_longer_ones_late() -> None:
    async with with_leaves(leaf={"ttl": "4h"}, intermediate={"ttl": "48h"}) as (cluster, _):
        wish(cluster, leaf={"ttl": "1h", "maxTTL": "1h"})
        await asyncio.sleep(5)
        old, _ = await rotate(cluster)
        await asyncio.sleep(3 * 3600)
        assert states(cluster)[old] == "Retiring"
        await gone(cluster, old, 2 * 3600)


async def test_216_raised_lifetime_during_a_rotation_does_not_shorten_what_is_stored() -> None:
    async with with_leaves() as (cluster, _):
        old, new = await rotate(cluster)
        stored = root(cluster, old)["metadata"]["annotations"][names.ANNOTATION_PRUNABLE_AFTER]
        wish(cluster, leaf={"ttl": "2h", "maxTTL": "2h"})
        await asyncio.sleep(60)
        assert root(cluster, old)["metadata"]["annotations"][names.ANNOTATION_PRUNABLE_AFTER] >= stored
        wish(cluster, leaf={"ttl": "1h", "maxTTL": "1h"})
        await gone(cluster, old, 4300)
        assert list(states(cluster)) == [new]
