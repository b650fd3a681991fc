"""Root rotations on the in-process API server, in virtual time: every cause, every phase, what it costs."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from meshca.api import names
from meshca.pki import certificates, keys
from meshca.planning.secrets import encode
from tests.fakes import pki
from tests.fakes.clock import START
from tests.fakes.engine import NAMESPACE, Cluster, ready
from tests.fakes.turning import (
    SHORT,
    active,
    bundle,
    configuration,
    events,
    states,
    status,
    trigger,
    turned,
    turning,
    until_completed,
    wish,
    with_leaves,
)

pytestmark = pytest.mark.looptime
FAR = START + 3650 * pki.DAY


async def test_095_099_changed_trigger_rotates_the_root_and_moves_every_leaf() -> None:
    async with with_leaves() as (cluster, witness):
        first = active(cluster)
        trigger(cluster, "one")
        await cluster.until(lambda: turning(cluster)[1] == "Reissue", 30)
        await cluster.until(lambda: status(cluster)["rotation"].get("reissued") == 2, 30)
        rotation = status(cluster)["rotation"]
        assert (rotation["leaves"], rotation["percent"]) == (3, 66)
        assert rotation["stragglers"] == ["shop/manual: waits for its holder"]
        assert cluster.status("manual")["state"] == "Rotate"
        cluster.server.delete(names.LEAF, "manual", "shop")
        await until_completed(cluster)
        assert witness.active == [active(cluster)] != [first]
        assert {cluster.status(name)["root"] for name in ("csr", "managed")} == {active(cluster)}
        assert states(cluster) == {first: "Retiring", active(cluster): "Active"}
        assert len(bundle(cluster)) == 2


async def test_101_costs_of_a_rotation_and_silence_after_it() -> None:
    async with with_leaves() as (cluster, _):
        cluster.server.delete(names.LEAF, "manual", "shop")
        await asyncio.sleep(2)
        cluster.written()
        trigger(cluster, "one")
        await until_completed(cluster)
        await asyncio.sleep(10)
        written = cluster.written()
        assert all(code < 300 for *_, code in written), written
        of = Counter((kind, name) for _, kind, name, _ in written)
        assert of["LeafCertificateRequest/status", "csr"] == 1
        assert of["LeafCertificateRequest/status", "managed"] == 1
        assert of["Secret", "managed-tls"] == 1
        # Each phase, the count of leaves, the end, and what is known of the bundle's places.
        assert of["CAConfiguration/status", "default"] <= 10
        await asyncio.sleep(600)
        assert cluster.written() == []


async def test_each_phase_is_told_by_one_event() -> None:
    async with with_leaves() as (cluster, _):
        cluster.server.delete(names.LEAF, "manual", "shop")
        trigger(cluster, "one")
        await until_completed(cluster)
        await asyncio.sleep(30)
        told = Counter(reason for reason in events(cluster) if reason.startswith("Ro"))
        assert told == {
            "RotationPrepare": 1,
            "RotationPublish": 1,
            "RotationActivate": 1,
            "RootActivated": 2,
            "RotationReissue": 1,
            "RotationCompleted": 1,
        }


async def test_072_073_changed_key_algorithms_rotate_one_after_the_other() -> None:
    kinds = [("RSA", 2048), ("Ed25519", None), ("ECDSA", 384)]
    async with with_leaves(leaf={"ttl": "1h"}) as (cluster, witness):
        cluster.server.delete(names.LEAF, "manual", "shop")
        for algorithm, size in kinds:
            before = active(cluster)
            wish(cluster, privateKey={"algorithm": algorithm, "size": size})
            await until_completed(cluster, after=before)
            root = cluster.server.find(names.CA_ROOT, active(cluster))
            assert root is not None
            made = keys.spec_of(certificates.load_one(root["spec"]["certificate"]).public_key())
            assert made.algorithm.value == algorithm
            assert len(root["status"]["crossCertificates"]) == len(states(cluster)) - 1
            # The first of them goes before a fourth comes.
            await asyncio.sleep(5000)
        assert len(witness.active) == 3
        assert witness.most_live <= 3


def put_pair(cluster: Cluster, name: str, label: str) -> None:
    key = pki.key("ECDSA 256", label)
    root = pki.imported_root(key, subject=label, not_before=START - pki.HOUR, not_after=FAR)
    data = {
        "tls.crt": encode(certificates.to_pem(root)),
        "tls.key": encode(keys.to_pem(key)),
    }
    if cluster.server.find(names.SECRET, name, NAMESPACE):
        cluster.server.merge(names.SECRET, name, NAMESPACE, {"data": data})
    else:
        metadata = {"name": name, "namespace": NAMESPACE}
        cluster.server.create(names.SECRET, {"metadata": metadata, "data": data, "type": "kubernetes.io/tls"})


async def test_imported_pair_then_its_secret_edited_in_place_rotate() -> None:
    async with with_leaves() as (cluster, witness):
        cluster.server.delete(names.LEAF, "manual", "shop")
        put_pair(cluster, "mine", "imported first")
        wish(cluster, provider={"type": "Builtin", "builtin": {"rootSecretName": "mine"}})
        await until_completed(cluster)
        imported = active(cluster)
        put_pair(cluster, "mine", "imported second")
        await until_completed(cluster, after=imported)
        assert len(witness.active) == 2
        sources = {item["spec"]["source"] for item in cluster.server.all(names.CA_ROOT)}
        assert sources == {"Imported", "Generated"}


async def test_218_root_near_its_end_is_rotated_by_itself() -> None:
    spec: Any = SHORT | {"root": {"ttl": "6h"}, "intermediate": {"ttl": "3h"}}
    async with ready(**spec) as cluster, turned(cluster) as witness:
        cluster.leaf(renewal="Automatic")
        await cluster.until_said("Issued")
        first = active(cluster)
        await asyncio.sleep(4 * 3600)
        assert active(cluster) == first
        await cluster.until(lambda: active(cluster) != first, 3600)
        await until_completed(cluster)
        await asyncio.sleep(600)
        assert len(witness.active) == 1
        renewed = cluster.server.find(names.CA_ROOT, active(cluster))
        assert renewed is not None
        assert renewed["metadata"]["annotations"][names.ANNOTATION_RENEWAL] == "1"
        await asyncio.sleep(6 * 3600)
        assert witness.most_live <= 3
        assert len(witness.active) >= 2
        assert configuration(cluster)["spec"]["root"] == {"ttl": "6h"}


async def test_progress_is_written_at_most_once_a_second() -> None:
    async with ready() as cluster:
        made = [f"csr-{number}" for number in range(100)]
        for name in made:
            cluster.leaf(name, renewal="Automatic")
        await cluster.until(lambda: all(cluster.ready(name)[0] == "Issued" for name in made))
        await asyncio.sleep(5)
        cluster.written()
        trigger(cluster, "one", reissuePerSecond=10)
        await cluster.until(lambda: turning(cluster) == ("False", "Completed"))
        kinds = Counter(kind for _, kind, _, _ in cluster.written())
        moving, phases = 11, 6
        assert kinds["LeafCertificateRequest/status"] == 100
        assert moving - 3 <= kinds["CAConfiguration/status"] <= moving + phases + 3
        assert kinds["CARoot/status"] <= 16
