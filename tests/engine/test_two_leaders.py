"""Two operators at once, as after a Lease lost unnoticed: preconditions fence, nothing is doubled."""

from __future__ import annotations

import asyncio
import base64

import pytest

from meshca.api import names
from meshca.pki import certificates, keys
from tests.fakes.engine import Cluster, ready

pytestmark = pytest.mark.looptime


def pair_fits(cluster: Cluster, leaf: str, secret: str) -> bool:
    found = cluster.server.find(names.SECRET, secret, "shop")
    assert found is not None
    chain = base64.b64decode(found["data"]["tls.crt"]).decode()
    key = keys.load_private(base64.b64decode(found["data"]["tls.key"]))
    fits = keys.matches(key, certificates.load_all(chain)[0])
    return fits and chain == cluster.status(leaf)["certificateChain"]


@pytest.mark.parametrize("apart", [0.0, 0.001, 0.02, 0.1])
async def test_213_race_of_two_bootstraps_makes_one_root(apart: float) -> None:
    cluster = Cluster()
    cluster.policy()
    cluster.configure()
    async with cluster.operator():
        await asyncio.sleep(apart)
        async with cluster.operator():
            await cluster.until_ready()
            await asyncio.sleep(120)
            assert len(cluster.secrets("root")) == 1
            assert len(cluster.server.all(names.CA_ROOT)) == 1
            [signer] = cluster.secrets("signer")
            cluster.leaf()
            await cluster.until_said("Issued")
            [root] = cluster.server.all(names.CA_ROOT)
            assert root["status"]["signer"]["secretName"] == signer["metadata"]["name"]
            await asyncio.sleep(60)
            cluster.written()
            await asyncio.sleep(3600)
            assert cluster.written() == []


async def test_213_leaves_served_by_two_operators_have_one_certificate_each() -> None:
    async with ready() as cluster, cluster.operator():
        await asyncio.sleep(5)
        for number in range(5):
            cluster.leaf(f"web-{number}")
            cluster.leaf(f"kept-{number}", secretName=f"kept-{number}")
        await cluster.until(
            lambda: all(item.get("status", {}).get("state") == "Issued" for item in cluster.leaves())
        )
        await asyncio.sleep(60)
        assert all(pair_fits(cluster, f"kept-{number}", f"kept-{number}") for number in range(5))
        accepted = [name for verb, kind, name, code in cluster.written() if "status" in kind and code == 200]
        assert sorted(name for name in accepted if name.startswith("web")) == [f"web-{n}" for n in range(5)]
        await asyncio.sleep(3600)
        assert cluster.written() == []
