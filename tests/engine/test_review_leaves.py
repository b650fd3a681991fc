"""Requests deleted, made anew and refused at awkward moments: none is lost, none is taken for another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from meshca.api import names
from tests.fakes.engine import Cluster, ready

if TYPE_CHECKING:
    from meshca.kube.gateway import Gateway

pytestmark = pytest.mark.looptime

JSON = dict[str, Any]


def replace_leaf(cluster: Cluster, name: str = "web") -> None:
    """Delete a request and make one of the same name, as ``kubectl replace --force`` does."""
    cluster.server.delete(names.LEAF, name, "shop")
    cluster.leaf(name)


@pytest.mark.parametrize("event", ["MODIFIED", "DELETED"])
async def test_late_news_of_a_replaced_request_do_not_touch_its_successor(event: str) -> None:
    async with ready() as cluster:
        old = cluster.leaf()
        await cluster.until_said("Issued")
        old = cluster.server.find(names.LEAF, "web", "shop") or old
        assert cluster.engine is not None
        intake, leaves = cluster.engine.intake, cluster.engine.store.leaves
        cluster.server.delete(names.LEAF, "web", "shop")
        new = cluster.leaf()
        intake.leaf("ADDED", new)
        intake.leaf(event, old)
        view = leaves.get(("shop", "web"))
        assert view is not None
        assert view.meta.uid == new["metadata"]["uid"]


async def test_late_news_of_a_replaced_configuration_do_not_touch_its_successor() -> None:
    async with ready() as cluster:
        old = cluster.server.find(names.CA_CONFIGURATION, "default")
        assert old is not None
        assert cluster.engine is not None
        new = old | {"metadata": old["metadata"] | {"uid": "another", "resourceVersion": "99999"}}
        cluster.engine.intake.configuration("ADDED", new)
        cluster.engine.intake.configuration("DELETED", old)
        assert cluster.engine.store.configurations == {"default": "another"}


@pytest.mark.parametrize("call", ["replace_status", "patch"])
async def test_request_replaced_while_its_status_is_written_is_served(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ready() as cluster:
        assert cluster.engine is not None
        gateway: Gateway = cluster.engine._gateway
        original = getattr(gateway, call)
        struck: list[Any] = []

        async def slow(resource: names.Resource, *rest: Any, **more: Any) -> Any:
            answer = await original(resource, *rest, **more)
            if resource == names.LEAF and not struck:
                struck.append(answer)
                replace_leaf(cluster)
                # The watch is quicker than the answer.
                await asyncio.sleep(1)
            return answer

        monkeypatch.setattr(gateway, call, slow)
        if call == "patch":
            cluster.server.delete(names.SERVICE_ACCOUNT, "web", "shop")
            await asyncio.sleep(1)
        cluster.leaf()
        await asyncio.sleep(2)
        assert struck
        if call == "patch":
            cluster.account("shop", "web")
        await cluster.until_said("Issued", seconds=5)


async def test_request_deleted_while_it_is_read_again_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ready() as cluster:
        assert cluster.engine is not None
        gateway: Gateway = cluster.engine._gateway
        original, read = gateway.get, list[str]()

        async def slow(resource: names.Resource, name: str, namespace: str = "") -> Any:
            answer = await original(resource, name, namespace)
            if resource == names.LEAF:
                read.append(name)
                cluster.server.delete(names.LEAF, name, namespace)
                # The watch is quicker than the answer.
                await asyncio.sleep(1)
            return answer

        monkeypatch.setattr(gateway, "get", slow)
        cluster.server.fault(verb="update", resource=names.LEAF, lose_answer=True)
        cluster.leaf()
        await asyncio.sleep(30)
        assert read == ["web"]
        assert len(cluster.engine.store.leaves) == 0


async def test_refused_request_is_kept_a_day_from_its_refusal_on() -> None:
    async with ready() as cluster:
        for resource in (names.VALIDATING_POLICY, names.VALIDATING_BINDING):
            cluster.server.delete(resource, "requester.meshca.dev")
        await asyncio.sleep(1)
        cluster.leaf()
        await cluster.until_said("SignerNotReady")
        await asyncio.sleep(30 * 3600)
        cluster.policy()
        await cluster.until_said("PolicyGap", seconds=600)
    async with cluster.operator():
        await cluster.until_ready()
        await asyncio.sleep(23 * 3600)
        assert cluster.ready() == ("Failed", "PolicyGap")
        await asyncio.sleep(2 * 3600)
        assert cluster.server.find(names.LEAF, "web", "shop") is None


async def test_largest_leaf_ttl_is_recorded_before_the_first_such_leaf() -> None:
    async with ready() as cluster:
        fault = cluster.server.fault(verb="patch", resource=names.CA_ROOT, unreachable=True, times=None)
        cluster.server.merge(
            names.CA_CONFIGURATION, "default", "", {"spec": {"leaf": {"ttl": "240h", "maxTTL": "240h"}}}
        )
        await asyncio.sleep(5)
        assert fault.hits
        cluster.leaf()
        await asyncio.sleep(20)
        [root] = cluster.server.all(names.CA_ROOT)
        recorded = root["metadata"]["annotations"][names.ANNOTATION_LARGEST_LEAF_TTL]
        assert recorded == "72h"
        assert cluster.engine is not None
        view = cluster.engine.store.leaves.get(("shop", "web"))
        assert view is not None
        assert view.issued is not None
        life = view.issued.not_after - view.issued.not_before
        assert life.total_seconds() <= 73 * 3600
        fault.times = 0
        await asyncio.sleep(400)
        cluster.leaf("long")
        await cluster.until_said("Issued", "long")
        view = cluster.engine.store.leaves.get(("shop", "long"))
        assert view is not None
        assert view.issued is not None
        assert (view.issued.not_after - view.issued.not_before).total_seconds() > 239 * 3600


async def test_managed_namespace_that_is_gone_stops_nobody_else() -> None:
    cluster = Cluster()
    cluster.policy()
    cluster.configure()
    await asyncio.sleep(60)
    # Its RoleBinding went with it.
    cluster.server.authorize = lambda info: (
        "no RBAC" if info.namespace == "gone" and info.resource == names.SECRET else None
    )
    async with cluster.operator(managed_key_namespaces=("gone", "shop")):
        cluster.leaf(secretName="web-tls")
        await cluster.until_said("Issued")
        await asyncio.sleep(1000)
