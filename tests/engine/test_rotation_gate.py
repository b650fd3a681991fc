"""The gate before an activation: who holds it up, for how long, and what is read back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from meshca.api import names
from meshca.pki import certificates
from tests.fakes.apiserver.status import ApiError
from tests.fakes.clock import LoopClock
from tests.fakes.engine import OPERATOR, ready
from tests.fakes.turning import (
    active,
    bundle,
    states,
    status,
    trigger,
    turning,
    until_completed,
    with_leaves,
)

if TYPE_CHECKING:
    from cryptography import x509

    from tests.fakes.apiserver.faults import RequestInfo
    from tests.fakes.engine import Cluster

pytestmark = pytest.mark.looptime
BUNDLE = "meshca-trust-bundle"
JSON = dict[str, Any]


def refuse(cluster: Cluster, namespace: str) -> None:
    def why(info: RequestInfo) -> str | None:
        locked = info.user == OPERATOR and info.is_write and info.namespace == namespace
        return "locked" if locked and info.resource == names.CONFIG_MAP else None

    cluster.server.authorize = why


def refuse_cluster_wide(cluster: Cluster) -> None:
    def why(info: RequestInfo) -> str | None:
        return "no" if info.user == OPERATOR and info.resource == names.CLUSTER_TRUST_BUNDLE else None

    cluster.server.authorize = why


def cluster_wide(cluster: Cluster) -> list[x509.Certificate]:
    """Return the roots of the ClusterTrustBundle."""
    found = cluster.server.find(names.CLUSTER_TRUST_BUNDLE, "meshca.dev:default:bundle")
    return certificates.load_all(found["spec"]["trustBundle"]) if found else []


async def test_one_refusal_at_the_start_does_not_take_the_cluster_trust_bundle_out_of_a_rotation() -> None:
    async with ready() as cluster:
        first = active(cluster)
    cluster.server.fault(
        verb="list",
        resource=names.CLUSTER_TRUST_BUNDLE,
        user=OPERATOR,
        error=ApiError(403, "Forbidden", "RBAC: clusterrole not found"),
    )
    async with cluster.operator():
        await cluster.until_ready()
        trigger(cluster, "one")
        await until_completed(cluster, after=first)
        assert len(cluster_wide(cluster)) == 2
        assert cluster.condition("Degraded")[0] == "False"


async def test_cluster_trust_bundle_that_may_not_even_be_read_is_named_and_waited_for_ten_minutes() -> None:
    async with ready() as cluster:
        first = active(cluster)
    refuse_cluster_wide(cluster)
    async with cluster.operator():
        await cluster.until(lambda: cluster.condition("Degraded")[1] == "NamespacesNotWritable")
        assert "ClusterTrustBundle: " in cluster.condition("Degraded")[2]
        trigger(cluster, "one")
        await cluster.until(lambda: turning(cluster) == ("True", "Publish"), 30)
        await asyncio.sleep(570)
        assert active(cluster) == first
        await cluster.until(lambda: active(cluster) != first, 60)
        cluster.server.authorize = lambda _: None
        await cluster.until(lambda: len(cluster_wide(cluster)) == 2, 400)
        await cluster.until(lambda: cluster.condition("Degraded")[0] == "False", 10)


async def test_cluster_trust_bundle_that_may_be_read_no_more_is_named_and_waited_for_ten_minutes() -> None:
    async with ready() as cluster:
        first = active(cluster)
        trigger(cluster, "one", minimumPublishTime="1m")
        await cluster.until(lambda: len(cluster_wide(cluster)) == 2)
        await asyncio.sleep(5)
        refuse_cluster_wide(cluster)
        await cluster.until(lambda: cluster.condition("Degraded")[1] == "NamespacesNotWritable", 120)
        await cluster.until(lambda: active(cluster) != first, 610)


async def test_namespace_that_refuses_is_listed_and_waited_for_ten_minutes() -> None:
    async with with_leaves() as (cluster, _):
        cluster.server.create(names.NAMESPACE, {"metadata": {"name": "locked"}})
        await asyncio.sleep(5)
        refuse(cluster, "locked")
        first = active(cluster)
        trigger(cluster, "one")
        await cluster.until(lambda: turning(cluster) == ("True", "Publish"), 30)
        await asyncio.sleep(570)
        assert active(cluster) == first
        assert "locked" in cluster.condition("RotationInProgress")[2]
        assert cluster.condition("Degraded")[:2] == ("True", "NamespacesNotWritable")
        assert status(cluster)["bundle"]["targets"]["behind"] == ["locked"]
        await cluster.until(lambda: active(cluster) != first, 60)
        assert cluster.condition("Degraded")[:2] == ("True", "NamespacesNotWritable")


@pytest.mark.parametrize(
    "how",
    [{"error": ApiError(500, "InternalError", "failed calling webhook")}, {"delay": 60.0}],
    ids=["500", "no answer"],
)
async def test_namespace_where_writes_fail_is_waited_for_ten_minutes_by_a_new_leader_too(
    how: JSON,
) -> None:
    async with ready() as cluster:
        first = active(cluster)
        cluster.server.fault(
            resource=names.CONFIG_MAP, namespace="shop", writes_only=True, user=OPERATOR, times=None, **how
        )
        trigger(cluster, "one")
        await cluster.until(lambda: turning(cluster) == ("True", "Publish"), 30)
    async with cluster.operator():
        await asyncio.sleep(500)
        assert active(cluster) == first
        assert cluster.condition("Degraded")[1] == "NamespacesNotWritable"
        assert "shop: " in cluster.condition("Degraded")[2]
        await cluster.until(lambda: active(cluster) != first, 120)


async def test_namespace_that_is_terminating_is_not_waited_for() -> None:
    async with with_leaves() as (cluster, _):
        metadata = {"name": "leaving", "finalizers": ["example.org/slow"]}
        cluster.server.create(names.NAMESPACE, {"metadata": metadata})
        await asyncio.sleep(5)
        cluster.server.delete(names.NAMESPACE, "leaving")
        first = active(cluster)
        trigger(cluster, "one")
        await cluster.until(lambda: active(cluster) != first, 60)


async def test_bundle_that_the_watch_does_not_show_as_changed_is_read_back_and_mended() -> None:
    async with with_leaves() as (cluster, _):
        first = active(cluster)
        trigger(cluster, "one", minimumPublishTime="1m")
        await cluster.until(lambda: len(bundle(cluster)) == 2, 30)
        found = cluster.server.find(names.CONFIG_MAP, BUNDLE, "shop")
        assert found is not None
        cluster.server.silence_watches(names.CONFIG_MAP)
        old = (cluster.server.find(names.CA_ROOT, first) or {})["spec"]["certificate"]
        cluster.server.merge(names.CONFIG_MAP, BUNDLE, "shop", {"data": {"ca.crt": old}})
        await cluster.until(lambda: active(cluster) != first, 120)
        assert len(bundle(cluster)) == 2


async def test_bundle_that_somebody_keeps_changing_back_holds_up_no_longer_than_ten_minutes() -> None:
    async with with_leaves() as (cluster, _):
        first = active(cluster)
        old = (cluster.server.find(names.CA_ROOT, first) or {})["spec"]["certificate"]

        async def meddle() -> None:
            while True:
                cluster.server.merge(names.CONFIG_MAP, BUNDLE, "shop", {"data": {"ca.crt": old}})
                await asyncio.sleep(0.3)

        trigger(cluster, "one")
        task = asyncio.create_task(meddle())
        try:
            await cluster.until(lambda: active(cluster) != first, 640)
        finally:
            task.cancel()


async def test_new_namespace_during_publish_gets_the_bundle_before_the_activation() -> None:
    async with with_leaves() as (cluster, _):
        first = active(cluster)
        trigger(cluster, "one", minimumPublishTime="1m")
        await cluster.until(lambda: turning(cluster) == ("True", "Publish"), 30)
        cluster.server.create(names.NAMESPACE, {"metadata": {"name": "late"}})
        await cluster.until(lambda: active(cluster) != first, 120)
        assert len(bundle(cluster, "late")) == 2


async def test_107_what_signs_and_what_is_trusted_in_each_phase() -> None:
    async with with_leaves() as (cluster, _):
        first = active(cluster)
        trigger(cluster, "one", minimumPublishTime="1m")
        await cluster.until(lambda: turning(cluster) == ("True", "Publish"), 30)
        await cluster.until(lambda: len(bundle(cluster)) == 2, 10)
        cluster.leaf("during")
        await cluster.until_said("Issued", "during", 10)
        assert cluster.status("during")["root"] == first
        assert cluster.status("during")["certificateChain"].count("BEGIN") == 2
        await cluster.until(lambda: active(cluster) != first, 90)
        cluster.leaf("after")
        await cluster.until_said("Issued", "after", 10)
        assert cluster.status("after")["root"] == active(cluster)
        assert cluster.status("after")["certificateChain"].count("BEGIN") == 3
        assert states(cluster)[first] == "Retiring"


@pytest.mark.parametrize("phase", ["None", "Publish", "Reissue"])
async def test_clocks_that_differ_stop_a_rotation_in_each_phase_until_they_agree(phase: str) -> None:
    async with with_leaves() as (cluster, _):
        first = active(cluster)
        if phase != "None":
            trigger(cluster, "one", minimumPublishTime="1m")
            await cluster.until(lambda: turning(cluster)[1] == phase, 120)
        before = states(cluster)
        server = LoopClock()
        cluster.server.clock = cluster.server.writer.clock = server
        server.step(300)
        await asyncio.sleep(6)  # the server's time is looked at every five seconds
        trigger(cluster, "two" if phase == "Reissue" else "one", minimumPublishTime="1m")
        await cluster.until(lambda: cluster.condition("Degraded")[:2] == ("True", "ClockSkew"), 700)
        await asyncio.sleep(600)
        assert set(states(cluster)) == set(before)
        assert active(cluster) == (max(before, key=lambda name: before[name] == "Active"))
        server.step(-300)
        await cluster.until(lambda: active(cluster) not in before or active(cluster) != first, 200)
        await cluster.until(lambda: cluster.condition("Degraded")[0] == "False", 200)
        cluster.server.delete(names.LEAF, "manual", "shop")
        await until_completed(cluster, 200)


async def test_bundle_that_is_always_changed_back_is_not_written_without_end() -> None:
    async with with_leaves() as (cluster, _):
        found = cluster.server.find(names.CONFIG_MAP, BUNDLE, "shop")
        assert found is not None
        twice = 2 * found["data"]["ca.crt"]
        for _ in range(40):
            cluster.server.merge(names.CONFIG_MAP, BUNDLE, "shop", {"data": {"ca.crt": twice}})
            await asyncio.sleep(1)
        written = [name for _, kind, name, _ in cluster.written() if kind == "ConfigMap"]
        assert 1 <= written.count(BUNDLE) <= 5
        assert cluster.condition("Degraded")[:2] == ("True", "NamespacesNotWritable")
        assert "keeps changing it back" in cluster.condition("Degraded")[2]
        await cluster.until(lambda: cluster.condition("Degraded")[0] == "False", 300)
        assert len(bundle(cluster)) == 1
