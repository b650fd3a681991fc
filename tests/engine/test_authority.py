"""What happens to a CA in a cluster: keys lost, damaged, replaced; specs refused; rivals; other places."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from meshca.api import names
from meshca.pki import certificates, keys
from tests.fakes import pki
from tests.fakes.authorities import break_glass, root_of
from tests.fakes.engine import NAMESPACE, Cluster, ready, with_cluster

pytestmark = pytest.mark.looptime
JSON = dict[str, Any]
HOUR = 3600.0


def signer_name(cluster: Cluster) -> str:
    [signer] = cluster.secrets("signer")
    return str(signer["metadata"]["name"])


@with_cluster
async def test_deleted_root_key_is_told_signing_goes_on_nothing_is_minted(cluster: Cluster) -> None:
    [secret] = cluster.secrets("root")
    break_glass(cluster, secret["metadata"]["name"])
    await cluster.until(lambda: cluster.condition()[1] == "RootKeyMissing")
    assert "signing goes on with the present signer" in cluster.condition()[2]
    cluster.leaf()
    await cluster.until_said("Issued")
    await asyncio.sleep(2 * HOUR)
    assert cluster.secrets("root") == []
    kept = {field: secret["metadata"][field] for field in ("name", "namespace", "labels", "annotations")}
    cluster.server.create(names.SECRET, {"metadata": kept, "type": secret["type"], "data": secret["data"]})
    await cluster.until(lambda: cluster.condition()[1] == "Initialised")


@with_cluster
async def test_deleted_signer_is_made_anew_under_the_same_root(cluster: Cluster) -> None:
    before, old = root_of(cluster), signer_name(cluster)
    break_glass(cluster, old)
    await cluster.until(lambda: cluster.secrets("signer"), 3)
    await asyncio.sleep(5)
    assert (root_of(cluster), signer_name(cluster) != old) == (before, True)
    cluster.leaf()
    await cluster.until_said("Issued")
    cluster.written()
    await asyncio.sleep(2 * HOUR)
    assert [kind for _, kind, _, _ in cluster.written() if kind != "LeafCertificateRequest/status"] == []


@pytest.mark.parametrize("field", ["tls.crt", "tls.key"])
@pytest.mark.parametrize("value", ["QQ==", "other"], ids=["garbage", "another pair"])
@with_cluster
async def test_tampered_signer_is_replaced_and_removed(cluster: Cluster, field: str, value: str) -> None:
    before, old = root_of(cluster), signer_name(cluster)
    if value == "other":
        pair = pki.authority(name=" stranger")
        signer, key = certificates.to_pem(pair.signer).encode(), keys.to_pem(pair.signer_key)
        value = base64.b64encode(signer if field == "tls.crt" else key).decode()
    cluster.server.merge(names.SECRET, old, NAMESPACE, {"data": {field: value}})
    await cluster.until(lambda: [s["metadata"]["name"] for s in cluster.secrets("signer")] != [old], 5)
    await asyncio.sleep(5)
    assert (root_of(cluster), signer_name(cluster) != old) == (before, True)
    cluster.leaf()
    await cluster.until_said("Issued")
    issuer = certificates.load_all(cluster.status()["certificateChain"])[1]
    [root] = cluster.server.all(names.CA_ROOT)
    issuer.verify_directly_issued_by(certificates.load_one(root["spec"]["certificate"]))


@with_cluster
async def test_root_secret_with_another_pair_is_told_and_adds_no_root(cluster: Cluster) -> None:
    [secret] = cluster.secrets("root")
    pair = pki.authority(name=" stranger")
    data = {
        "tls.crt": base64.b64encode(certificates.to_pem(pair.root).encode()).decode(),
        "tls.key": base64.b64encode(keys.to_pem(pair.root_key)).decode(),
    }
    cluster.server.merge(names.SECRET, secret["metadata"]["name"], NAMESPACE, {"data": data})
    await cluster.until(lambda: cluster.condition()[1] == "RootKeyMissing")
    assert "holds another root" in cluster.condition()[2]
    await asyncio.sleep(HOUR)
    root_of(cluster)
    bundle = cluster.server.find(names.CONFIG_MAP, "meshca-trust-bundle", "shop")
    assert bundle is not None
    assert certificates.to_pem(pair.root) not in bundle["data"]["ca.crt"]


@with_cluster
async def test_lost_status_of_the_configuration_is_restored(cluster: Cluster) -> None:
    before = cluster.server.find(names.CA_CONFIGURATION, "default")
    assert before is not None
    secrets = cluster.secrets()
    wiped = dict.fromkeys(before["status"])
    cluster.server.merge(names.CA_CONFIGURATION, "default", "", {"status": wiped}, subresource="status")
    await cluster.until_ready()
    await asyncio.sleep(5)
    after = cluster.server.find(names.CA_CONFIGURATION, "default")
    assert after is not None
    assert after["status"]["activeRoot"] == before["status"]["activeRoot"]
    assert after["status"]["bundle"]["sequence"] > before["status"]["bundle"]["sequence"]
    assert cluster.secrets() == secrets


@with_cluster
async def test_deleted_caroot_record_is_made_again_from_its_secret(cluster: Cluster) -> None:
    name = root_of(cluster)
    cluster.server.merge(names.CA_ROOT, name, "", {"metadata": {"finalizers": []}})
    cluster.server.delete(names.CA_ROOT, name)
    await cluster.until(lambda: cluster.server.all(names.CA_ROOT), 5)
    await cluster.until_ready()
    await asyncio.sleep(5)
    [root] = cluster.server.all(names.CA_ROOT)
    assert root["metadata"]["name"] == name
    assert root["status"]["state"] == "Active"


async def test_signer_is_renewed_at_half_life_and_leaves_go_on() -> None:
    async with ready(intermediate={"ttl": "240h"}) as cluster:
        old = signer_name(cluster)
    await asyncio.sleep(118 * HOUR)
    async with cluster.operator():
        cluster.leaf(renewal="Automatic")
        await cluster.until_said("Issued")
        assert signer_name(cluster) == old
        await asyncio.sleep(3 * HOUR)
        assert signer_name(cluster) != old
        assert cluster.ready() == ("Issued", "Issued")
        kinds = [(verb, kind) for verb, kind, _, _ in cluster.written() if "Leaf" not in kind]
        assert [pair for pair in kinds if pair[1] != "CAConfiguration/status"] == [
            ("create", "Secret"),
            ("update", "CARoot/status"),
            ("delete", "Secret"),
        ]


async def test_219_root_at_its_end_cuts_leaves_short_then_refuses_and_never_loops() -> None:
    lives: JSON = {
        "root": {"ttl": "300h", "renewBefore": "1h"},
        "intermediate": {"ttl": "240h"},
        "leaf": {"ttl": "72h"},
    }
    async with ready(**lives) as cluster:
        pass
    await asyncio.sleep(260 * HOUR)
    async with cluster.operator():
        cluster.leaf()
        await cluster.until_said("Issued")
        leaf, signer = certificates.load_all(cluster.status()["certificateChain"])
        assert leaf.not_valid_after_utc == signer.not_valid_after_utc
    await asyncio.sleep(35 * HOUR)
    async with cluster.operator():
        cluster.leaf("late")
        await cluster.until_said("SignerNotReady", "late")
        assert "too soon for a certificate of 72h" in cluster.said("late")
        await asyncio.sleep(60)
        cluster.written()
        await asyncio.sleep(2 * HOUR)
        assert [kind for _, kind, _, code in cluster.written() if code < 300 and kind == "Secret"] == []
    await asyncio.sleep(4 * HOUR)
    async with cluster.operator():
        await cluster.until(lambda: cluster.condition()[1] == "RootExpired")
        assert cluster.condition("RootExpiringSoon")[:2] == ("True", "RootExpired")


@with_cluster
async def test_invalid_edit_is_told_and_the_last_good_spec_stays(cluster: Cluster) -> None:
    cluster.server.merge(
        names.CA_CONFIGURATION, "default", "", {"spec": {"leaf": {"ttl": "8h", "maxTTL": "4h"}}}
    )
    await cluster.until(lambda: cluster.condition()[1] == "InvalidConfiguration")
    assert "spec.leaf.maxTTL 4h is below the minimum 8h" in cluster.condition()[2]
    cluster.leaf()
    await cluster.until_said("Issued")
    leaf = certificates.load_all(cluster.status()["certificateChain"])[0]
    assert (leaf.not_valid_after_utc - cluster.clock.now()).total_seconds() > 71 * HOUR


@with_cluster
async def test_the_last_good_spec_is_the_latest_one_that_was_good(cluster: Cluster) -> None:
    for leaf in ({"ttl": "24h"}, {"ttl": "12h"}):
        cluster.server.merge(names.CA_CONFIGURATION, "default", "", {"spec": {"leaf": leaf}})
        await asyncio.sleep(30)
    bad = {"spec": {"leaf": {"ttl": "8h", "maxTTL": "4h"}}}
    cluster.server.merge(names.CA_CONFIGURATION, "default", "", bad)
    await cluster.until(lambda: cluster.condition()[1] == "InvalidConfiguration")
    cluster.leaf()
    await cluster.until_said("Issued")
    leaf_of_then = certificates.load_all(cluster.status()["certificateChain"])[0]
    assert 11 * HOUR < (leaf_of_then.not_valid_after_utc - cluster.clock.now()).total_seconds() <= 12 * HOUR


async def test_last_good_spec_survives_a_restart() -> None:
    async with ready() as cluster:
        bad = {"spec": {"leaf": {"ttl": "8h", "maxTTL": "4h"}}}
        cluster.server.merge(names.CA_CONFIGURATION, "default", "", bad)
        await cluster.until(lambda: cluster.condition()[1] == "InvalidConfiguration")
    async with cluster.operator():
        cluster.leaf()
        await cluster.until_said("Issued")


@with_cluster
async def test_second_owner_of_a_trust_domain_or_bundle_writes_nothing(cluster: Cluster) -> None:
    await asyncio.sleep(5)
    cluster.configure("green", trustBundle={"configMapName": "green"})
    cluster.configure("blue", trustDomain="blue.org")
    await cluster.until(lambda: cluster.condition(name="green")[1] == "TrustDomainConflict")
    await cluster.until(lambda: cluster.condition(name="blue")[1] == "BundleConflict")
    await asyncio.sleep(60)
    assert len(cluster.secrets()) == 2
    assert {kind for _, kind, _, _ in cluster.written()} == {"CAConfiguration/status"}
    cluster.server.delete(names.CA_CONFIGURATION, "default")
    await cluster.until(lambda: cluster.condition(name="green")[1] == "Initialised")
