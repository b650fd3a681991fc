"""A whole rotation with its prune, killed after any write, and each write's answer lost."""

from __future__ import annotations

import asyncio

import pytest

from meshca.api import names
from tests.fakes.engine import Cluster, DieAfter
from tests.fakes.turning import SHORT, active, bundle, states, status, trigger, turned, turning

pytestmark = pytest.mark.looptime

MOST_WRITES = 48
"""Of a rotation of two leaves, from the change of the trigger until the old root is gone."""
PRUNED_AFTER = 3600 + 600 + 60


async def rotating() -> Cluster:
    """Return a cluster whose CA is in order, and stopped."""
    cluster = Cluster()
    cluster.policy()
    cluster.configure(**SHORT)
    await asyncio.sleep(60)
    async with cluster.operator():
        cluster.leaf("csr", renewal="Automatic")
        cluster.leaf("managed", secretName="managed-tls")
        await cluster.until_ready()
        await cluster.until(lambda: all(cluster.ready(name)[0] == "Issued" for name in ("csr", "managed")))
        await asyncio.sleep(5)
    cluster.written()
    return cluster


def settled(cluster: Cluster) -> bool:
    return turning(cluster) == ("False", "Completed") and list(states(cluster).values()) == ["Active"]


@pytest.mark.parametrize("lost", [False, True], ids=["killed", "unanswered"])
@pytest.mark.parametrize("count", range(MOST_WRITES))
async def test_100_215_rotation_killed_after_any_write_is_resumed(count: int, lost: bool) -> None:
    cluster = await rotating()
    first = active(cluster)
    async with turned(cluster) as witness:
        trigger(cluster, "one")
        death = DieAfter(writes=count, lose_last=lost, times=None)
        cluster.server.faults.append(death)
        async with cluster.operator():
            await asyncio.sleep(30)
            if death.seen < count:
                await asyncio.sleep(PRUNED_AFTER)
        cluster.server.faults.clear()
        async with cluster.operator():
            await cluster.until(lambda: active(cluster) != first, 60)
            await cluster.until(lambda: settled(cluster), PRUNED_AFTER + 120)
            await asyncio.sleep(5)
            assert len(witness.active) == 1
            assert witness.most_live <= 2
            assert len(cluster.secrets("root")) == len(cluster.secrets("signer")) == 1
            assert len(bundle(cluster)) == len(status(cluster)["bundle"]["roots"]) == 1
            assert {item["status"]["root"] for item in cluster.leaves()} == {active(cluster)}
            assert all(item["status"]["state"] == "Issued" for item in cluster.leaves())
            cluster.written()
            await asyncio.sleep(300)
            # Leaves are renewed in their time, nothing else is written.
            leaves = {"LeafCertificateRequest/status", "Secret"}
            assert [found for found in cluster.written() if found[1] not in leaves] == []


async def test_number_of_writes_of_a_rotation() -> None:
    cluster = await rotating()
    trigger(cluster, "one")
    async with cluster.operator():
        await cluster.until(lambda: settled(cluster), PRUNED_AFTER + 120)
        await asyncio.sleep(5)
    written = cluster.written()
    assert all(code < 300 for *_, code in written)
    assert len(written) <= MOST_WRITES
    assert sum(kind == names.CA_ROOT.kind for _, kind, *_ in written) <= 9
