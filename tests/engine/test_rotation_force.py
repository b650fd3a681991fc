"""Rotations without cross-certificates: refused, permitted, and the ways out when a root cannot sign."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from meshca.api import names
from meshca.pki import certificates
from meshca.providers import registry
from meshca.providers.builtin import BuiltinProvider
from tests.fakes.engine import NAMESPACE, Cluster
from tests.fakes.turning import (
    SHORT,
    active,
    bundle,
    configuration,
    entry,
    events,
    states,
    trigger,
    turned,
    turning,
    until_completed,
    wish,
    with_leaves,
)

if TYPE_CHECKING:
    from cryptography import x509

    from meshca.providers.api import KeyPair, RootRequest, SignerRequest

pytestmark = pytest.mark.looptime


class Plain:
    """A provider that makes roots and signers, and can do nothing else."""

    def __init__(self) -> None:
        self._inner = BuiltinProvider()

    async def make_root(self, request: RootRequest) -> KeyPair:
        return await self._inner.make_root(request)

    async def sign_signer(self, root: KeyPair, request: SignerRequest) -> x509.Certificate:
        return await self._inner.sign_signer(root, request)


@dataclass(frozen=True)
class Point:
    """Stands for an entry point."""

    name: str

    def load(self) -> type[Plain]:
        return Plain


@pytest.fixture
def plain_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda **_: (Point("Builtin"),))


def managed_bundle(cluster: Cluster) -> int:
    """Count the roots in the managed Secret."""
    found = cluster.server.find(names.SECRET, "managed-tls", "shop")
    return len(certificates.load_all(entry(found, "ca.crt"))) if found else 0


@pytest.mark.usefixtures("plain_provider")
async def test_075_provider_that_cannot_cross_sign_blocks_and_names_both_ways_out() -> None:
    async with with_leaves() as (cluster, _):
        first = active(cluster)
        trigger(cluster, "one")
        await cluster.until(lambda: turning(cluster) == ("False", "RotationBlocked"), 30)
        message = cluster.condition("RotationInProgress")[2]
        assert "provider" in message
        assert "forceWithoutCrossSigning" in message
        await asyncio.sleep(30)
        assert list(states(cluster)) == [first]
        assert len(cluster.secrets("root")) == 1
        assert cluster.condition()[:2] == ("True", "Initialised")
        assert events(cluster).count("RotationBlocked") == 1
        cluster.written()
        await asyncio.sleep(1200)
        assert cluster.written() == []
        trigger(cluster, None)
        await cluster.until(lambda: turning(cluster)[1] != "RotationBlocked", 30)


@pytest.mark.usefixtures("plain_provider")
async def test_076_force_publishes_both_roots_everywhere_before_the_activation() -> None:
    async with with_leaves() as (cluster, witness):
        first = active(cluster)
        trigger(cluster, "one", forceWithoutCrossSigning="one")
        await cluster.until(lambda: turning(cluster) == ("True", "Publish"), 30)
        await cluster.until(lambda: len(bundle(cluster)) == 2 and managed_bundle(cluster) == 2, 30)
        assert active(cluster) == first
        await asyncio.sleep(240)
        assert active(cluster) == first
        await cluster.until(lambda: active(cluster) != first, 120)
        cluster.server.delete(names.LEAF, "manual", "shop")
        last = await until_completed(cluster)
        assert witness.active == [last]
        root = cluster.server.find(names.CA_ROOT, last)
        assert root is not None
        assert "crossCertificates" not in root["status"]
        assert cluster.status("csr")["certificateChain"].count("BEGIN") == 2


@pytest.mark.usefixtures("plain_provider")
async def test_223_force_holds_for_its_rotation_only() -> None:
    async with with_leaves() as (cluster, _):
        cluster.server.delete(names.LEAF, "manual", "shop")
        first = active(cluster)
        trigger(cluster, "one", forceWithoutCrossSigning="one")
        second = await until_completed(cluster, 600, after=first)
        wish(cluster, privateKey={"algorithm": "ECDSA", "size": 384})
        await cluster.until(lambda: turning(cluster) == ("False", "RotationBlocked"), 30)
        assert active(cluster) == second


async def test_223_force_without_a_new_trigger_changes_nothing_and_says_so() -> None:
    async with with_leaves() as (cluster, _):
        first = active(cluster)
        wish(cluster, rotation={"forceWithoutCrossSigning": "now"})
        await asyncio.sleep(60)
        assert list(states(cluster)) == [first]
        assert "forceWithoutCrossSigning alone does nothing" in cluster.condition("RotationInProgress")[2]


async def test_076_force_where_cross_signing_is_possible_does_not_forgo_it() -> None:
    async with with_leaves() as (cluster, _):
        cluster.server.delete(names.LEAF, "manual", "shop")
        trigger(cluster, "one", forceWithoutCrossSigning="one")
        last = await until_completed(cluster, after=active(cluster))
        root = cluster.server.find(names.CA_ROOT, last)
        assert root is not None
        assert len(root["status"]["crossCertificates"]) == 1


def lose(cluster: Cluster, role: str) -> None:
    for secret in cluster.secrets(role):
        cluster.server.delete(names.SECRET, secret["metadata"]["name"], NAMESPACE)


async def test_221_missing_root_key_is_left_by_an_explicit_rotation() -> None:
    async with with_leaves() as (cluster, witness):
        cluster.server.delete(names.LEAF, "manual", "shop")
        first = active(cluster)
        lose(cluster, "root")
        await cluster.until(lambda: cluster.condition()[1] == "RootKeyMissing", 30)
        witness.broken.clear()  # that key was deleted by hand
        cluster.leaf("more", renewal="Automatic")
        await cluster.until_said("Issued", "more")
        trigger(cluster, "one")
        await cluster.until(lambda: turning(cluster) == ("False", "RotationBlocked"), 30)
        assert cluster.secrets("root") == []
        trigger(cluster, "two", forceWithoutCrossSigning="two")
        last = await until_completed(cluster, 700, after=first)
        assert cluster.condition()[:2] == ("True", "Initialised")
        assert states(cluster) == {first: "Retiring", last: "Active"}
        assert len(bundle(cluster)) == 2
        await cluster.until(lambda: list(states(cluster)) == [last], 4400)


async def test_145_218_with_everything_expired_one_apply_brings_the_mesh_back() -> None:
    # Renewing the root by itself is impossible for an imported one, and when the operator was away.
    spec: Any = SHORT | {"root": {"ttl": "6h"}, "intermediate": {"ttl": "3h"}}
    cluster = Cluster()
    cluster.policy()
    cluster.configure(**spec)
    await asyncio.sleep(60)
    async with cluster.operator():
        await cluster.until_ready()
        cluster.leaf("csr", renewal="Automatic")
        cluster.leaf("managed", secretName="managed-tls")
        await cluster.until(lambda: all(cluster.ready(name)[0] == "Issued" for name in ("csr", "managed")))
    first = active(cluster)
    await asyncio.sleep(8 * 3600)
    async with cluster.operator(), turned(cluster) as witness:
        await cluster.until(lambda: cluster.condition()[1] == "RootExpired", 30)
        assert cluster.condition("RootExpiringSoon")[:2] == ("True", "RootExpired")
        await asyncio.sleep(60)
        assert list(states(cluster)) == [first]
        trigger(cluster, "back", forceWithoutCrossSigning="back")
        last = await until_completed(cluster, 900, after=first)
        await cluster.until(lambda: {cluster.status(n).get("root") for n in ("csr", "managed")} == {last})
        assert cluster.condition()[:2] == ("True", "Initialised")
        assert {cluster.status(name)["state"] for name in ("csr", "managed")} == {"Issued"}
        assert managed_bundle(cluster) >= 1
        assert witness.active == [last]
        assert configuration(cluster)["spec"]["rotation"]["trigger"] == "back"
