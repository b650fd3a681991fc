"""After a restore: the same active root, and no CA certificate is made."""

from __future__ import annotations

import asyncio

import pytest

from meshca.api import names
from tests.fakes.engine import NAMESPACE, OPERATOR, Cluster
from tests.fakes.turning import active, bundle, states, trigger, turned, until_completed, with_leaves

pytestmark = pytest.mark.looptime
OURS = (names.CA_CONFIGURATION, names.CA_ROOT, names.LEAF)


def wipe_status(cluster: Cluster) -> None:
    for resource in OURS:
        for item in cluster.server.all(resource):
            kept = dict.fromkeys(item.get("status") or {})
            metadata = item["metadata"]
            cluster.server.merge(
                resource,
                metadata["name"],
                metadata.get("namespace", ""),
                {"status": kept},
                subresource="status",
            )


def made(cluster: Cluster) -> set[str]:
    return {item["metadata"]["name"] for item in cluster.secrets()} | set(states(cluster))


@pytest.mark.parametrize("rotated", [False, True], ids=["one root", "after a rotation"])
async def test_status_lost_everywhere_makes_no_ca_certificate(rotated: bool) -> None:
    async with with_leaves() as (cluster, _):
        cluster.server.delete(names.LEAF, "manual", "shop")
        if rotated:
            before = active(cluster)
            trigger(cluster, "one")
            await until_completed(cluster, after=before)
    before, there, trusted = active(cluster), made(cluster), bundle(cluster)
    secret = cluster.server.find(names.SECRET, "managed-tls", "shop")
    wipe_status(cluster)
    async with turned(cluster), cluster.operator():
        await cluster.until(lambda: active(cluster) == before, 30)
        await cluster.until(lambda: all(cluster.ready(name)[0] == "Issued" for name in ("csr", "managed")))
        await asyncio.sleep(30)
        assert made(cluster) == there
        assert bundle(cluster) == trusted
        after = cluster.server.find(names.SECRET, "managed-tls", "shop")
        assert secret is not None
        assert after is not None
        assert after["data"]["tls.crt"] == secret["data"]["tls.crt"], "restored from its Secret"


async def test_212_all_lost_but_ca_secrets_and_caroots_then_applied_again() -> None:
    async with with_leaves() as (cluster, _):
        cluster.server.delete(names.LEAF, "manual", "shop")
        before = active(cluster)
        trigger(cluster, "one")
        await until_completed(cluster, after=before)
    root, there, trusted = active(cluster), made(cluster), bundle(cluster)
    found = cluster.server.find(names.CA_CONFIGURATION, "default")
    assert found is not None
    for item in cluster.leaves():
        cluster.server.delete(names.LEAF, item["metadata"]["name"], "shop")
    cluster.server.delete(names.CA_CONFIGURATION, "default")
    cluster.server.delete(names.CONFIG_MAP, names.accepted_config_map("default"), NAMESPACE)
    cluster.server.delete(names.CONFIG_MAP, "meshca-trust-bundle", "shop")
    for item in cluster.server.all(names.CA_ROOT):
        kept = dict.fromkeys(item.get("status") or {})
        cluster.server.merge(
            names.CA_ROOT, item["metadata"]["name"], "", {"status": kept}, subresource="status"
        )
    await asyncio.sleep(5)
    cluster.written()
    cluster.server.create(names.CA_CONFIGURATION, {"metadata": {"name": "default"}, "spec": found["spec"]})
    cluster.leaf("csr", renewal="Automatic")
    cluster.leaf("managed", secretName="managed-tls")
    async with turned(cluster), cluster.operator():
        await cluster.until(lambda: active(cluster) == root, 30)
        await cluster.until(
            lambda: all(cluster.ready(name)[0] == "Issued" for name in ("csr", "managed")), 90
        )
        await asyncio.sleep(30)
        assert made(cluster) == there
        assert bundle(cluster) == trusted
        creates = cluster.server.writes(names.CA_ROOT, user=OPERATOR)
        assert all(entry.info.verb != "create" for entry in creates)
