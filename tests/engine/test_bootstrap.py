"""From nothing to a CA that issues, on an API server, killed after any write."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshca.api import names
from tests.fakes.engine import OPERATOR, Cluster, DieAfter, ready

pytestmark = pytest.mark.looptime

# Settle, accept, root, CARoot, leaf TTL, signer, mark, commit, CARoot's status, admission's record, status
# (twice: bundle targets come later), four bundle ConfigMaps and the ClusterTrustBundle.
MOST_WRITES = 19


def cluster_with(**spec: Any) -> Cluster:
    cluster = Cluster()
    cluster.policy()
    cluster.configure(**spec)
    return cluster


def identities(cluster: Cluster) -> dict[str, list[str]]:
    """Return what must never be made twice."""
    return {
        "roots": [item["metadata"]["name"] for item in cluster.secrets("root")],
        "signers": [item["metadata"]["name"] for item in cluster.secrets("signer")],
        "CARoots": [item["metadata"]["name"] for item in cluster.server.all(names.CA_ROOT)],
    }


async def test_030_bootstrap_makes_one_root_one_signer_and_is_ready() -> None:
    async with ready() as cluster:
        assert {kind: len(found) for kind, found in identities(cluster).items()} == {
            "roots": 1,
            "signers": 1,
            "CARoots": 1,
        }
        [root] = cluster.server.all(names.CA_ROOT)
        assert root["status"]["state"] == "Active"
        configuration = cluster.server.find(names.CA_CONFIGURATION, "default")
        assert configuration is not None
        assert configuration["status"]["activeRoot"] == root["metadata"]["name"]
        assert cluster.condition()[:2] == ("True", "Initialised")


async def test_i6_passes_over_a_healthy_ca_write_nothing() -> None:
    async with ready() as cluster:
        await asyncio.sleep(3 * 3600)
        assert cluster.written() == []


async def test_i6_214_twenty_restarts_write_nothing() -> None:
    cluster = cluster_with()
    async with cluster.operator():
        cluster.leaf()
        cluster.leaf("kept", secretName="kept-tls")
        await cluster.until_ready()
        await cluster.until(lambda: all(cluster.ready(name)[0] for name in ("web", "kept")))
        await asyncio.sleep(5)
    cluster.written()
    before = identities(cluster)
    for _ in range(20):
        async with cluster.operator():
            await asyncio.sleep(20)
    assert cluster.written() == []
    assert identities(cluster) == before


@pytest.mark.parametrize("lost", [False, True], ids=["killed", "unanswered"])
@pytest.mark.parametrize("count", range(MOST_WRITES))
async def test_operator_killed_after_any_write_is_resumed(count: int, lost: bool) -> None:
    cluster = cluster_with()
    cluster.leaf("kept", secretName="kept-tls")
    await asyncio.sleep(60)
    death = DieAfter(writes=count, lose_last=lost, times=None)
    cluster.server.faults.append(death)
    async with cluster.operator():
        await asyncio.sleep(8)
        assert death.seen >= count, "fewer writes than thought: lower MOST_WRITES"
    cluster.server.faults.clear()
    made = identities(cluster)
    async with cluster.operator():
        await cluster.until_ready()
        await asyncio.sleep(5)
        found = identities(cluster)
        assert {kind: len(names) for kind, names in found.items()} == {"roots": 1, "signers": 1, "CARoots": 1}
        assert all(found[kind] == names for kind, names in made.items() if names)
        cluster.written()
        await asyncio.sleep(700)
        assert cluster.written() == []


async def test_number_of_writes_of_a_bootstrap() -> None:
    cluster = cluster_with()
    async with cluster.operator():
        await cluster.until_ready()
        await asyncio.sleep(5)
    kinds = [kind for _, kind, _, code in cluster.written() if code < 300]
    assert kinds.count("Secret") == 2
    assert kinds.count("CARoot") == 3
    assert kinds.count("CARoot/status") == 1
    assert kinds.count("CAConfiguration/status") <= 5
    assert len(kinds) <= MOST_WRITES


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        ("create", names.SECRET),
        ("create", names.CA_ROOT),
        ("update", names.CA_CONFIGURATION),
        ("patch", names.CA_ROOT),
        ("patch", names.CONFIG_MAP),
    ],
    ids=lambda value: value if isinstance(value, str) else value.kind,
)
@pytest.mark.parametrize("kind", [{"lose_answer": True}, {"late": 3.0}, {"unreachable": True}], ids=str)
async def test_write_without_an_answer_makes_nothing_twice(
    verb: str, resource: names.Resource, kind: dict[str, Any]
) -> None:
    cluster = cluster_with()
    fault = cluster.server.fault(verb=verb, resource=resource, user=OPERATOR, **kind)
    async with cluster.operator():
        await cluster.until_ready()
        await asyncio.sleep(20)
        assert fault.hits == 1
        assert {kind: len(found) for kind, found in identities(cluster).items()} == {
            "roots": 1,
            "signers": 1,
            "CARoots": 1,
        }
        cluster.written()
        await asyncio.sleep(700)
        assert cluster.written() == []


async def test_api_server_away_for_a_while_is_waited_for() -> None:
    cluster = cluster_with()
    cluster.server.down = True
    async with cluster.operator() as engine:
        await asyncio.sleep(300)
        del engine
        cluster.server.down = False
        await cluster.until_ready()
