"""Managed keys on an API server: two writes, repair, restore, and Secrets of other people."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from meshca.api import names
from meshca.api.v1alpha1.scalars import parse_time
from meshca.engine.intake import configuration_key
from meshca.engine.work import Urgency
from meshca.pki import certificates
from meshca.planning.authority import Authority
from tests.fakes import pki
from tests.fakes.apiserver.faults import Fault
from tests.fakes.engine import OPERATOR, Cluster, ready, with_cluster

if TYPE_CHECKING:
    from cryptography import x509

    from tests.fakes.apiserver.faults import RequestInfo

pytestmark = pytest.mark.looptime

HOUR = 3600.0
JSON = dict[str, Any]


def secret(cluster: Cluster, name: str = "web-tls") -> JSON:
    found = cluster.server.find(names.SECRET, name, "shop")
    assert found is not None
    return found


def entry(cluster: Cluster, key: str, name: str = "web-tls") -> bytes:
    return base64.b64decode(secret(cluster, name)["data"][key])


def check_pair(cluster: Cluster, name: str = "web") -> x509.Certificate:
    """Check that Secret and status hold one certificate and its key; return it."""
    chain = entry(cluster, "tls.crt").decode()
    assert chain == cluster.status(name)["certificateChain"]
    leaf = certificates.load_all(chain)[0]
    key = load_pem_private_key(entry(cluster, "tls.key"), None)
    assert key.public_key() == leaf.public_key()
    return leaf


@with_cluster
async def test_i7_signer_that_is_replaced_while_a_leaf_is_being_renewed_costs_no_write(
    cluster: Cluster,
) -> None:
    cluster.leaf(secretName="web-tls")
    await cluster.until_said("Issued")
    first = check_pair(cluster)

    def replace_signer(_: RequestInfo) -> None:
        """Do what the reconciler of configurations does when it has made another signer."""
        assert cluster.engine is not None
        authorities = cluster.engine.authorities
        before = authorities.get("default")
        assert isinstance(before, Authority)
        authorities.set("default", replace(before, signer_secret="meshca-signer-default-later"))
        authorities.keys.forget("default")
        cluster.engine.queue.add(configuration_key("default"), Urgency.CONTROL)

    look = Fault(verb="get", resource=names.SECRET, name="web-tls", before=replace_signer)
    cluster.server.faults.append(look)
    due = parse_time(cluster.status()["renewAt"])
    cluster.written()
    await asyncio.sleep((due - cluster.clock.now()).total_seconds() + 30)
    assert look.hits == 1
    assert check_pair(cluster) != first
    assert cluster.written() == [
        ("patch", "Secret", "web-tls", 200),
        ("update", "LeafCertificateRequest/status", "web", 200),
    ]


@with_cluster
async def test_i7_managed_leaf_is_issued_with_two_writes(cluster: Cluster) -> None:
    made = cluster.leaf(secretName="web-tls")
    await cluster.until_said("Issued")
    await asyncio.sleep(20)
    assert cluster.written() == [
        ("create", "Secret", "", 201),
        ("update", "LeafCertificateRequest/status", "web", 200),
    ]
    check_pair(cluster)
    found = secret(cluster)
    assert found["type"] == "kubernetes.io/tls"
    assert [owner["uid"] for owner in found["metadata"]["ownerReferences"]] == [made["metadata"]["uid"]]
    [root] = cluster.server.all(names.CA_ROOT)
    assert entry(cluster, "ca.crt").decode() == root["spec"]["certificate"]
    assert cluster.tally.issued == {("default", "managed"): 1}


@with_cluster
async def test_renewal_makes_a_new_key_with_two_writes(cluster: Cluster) -> None:
    cluster.leaf(secretName="web-tls")
    await cluster.until_said("Issued")
    cluster.server.merge(
        names.SECRET,
        "web-tls",
        "shop",
        {"metadata": {"labels": {"team": "shop"}}, "data": {"extra": "QQ=="}},
    )
    first, due = check_pair(cluster), parse_time(cluster.status()["renewAt"])
    await asyncio.sleep(1)
    cluster.written()
    await asyncio.sleep((due - cluster.clock.now()).total_seconds() + 10)
    assert [(verb, kind) for verb, kind, _, _ in cluster.written()] == [
        ("patch", "Secret"),
        ("update", "LeafCertificateRequest/status"),
    ]
    second = check_pair(cluster)
    assert second.public_key() != first.public_key()
    assert secret(cluster)["metadata"]["labels"]["team"] == "shop"
    assert secret(cluster)["data"]["extra"] == "QQ=="


EDITS: list[Any] = [
    pytest.param({"data": {"tls.key": "QQ=="}}, id="key"),
    pytest.param({"data": {"tls.crt": "QQ=="}}, id="certificate"),
    pytest.param({"data": {"ca.crt": "QQ=="}}, id="bundle"),
    pytest.param({"data": {"ca.crt": None}}, id="bundle removed"),
    pytest.param({"metadata": {"labels": {names.LABEL_LEAF: None}}}, id="label"),
]


@pytest.mark.parametrize("edit", EDITS)
@with_cluster
async def test_edited_secret_is_repaired_with_a_new_key(cluster: Cluster, edit: JSON) -> None:
    cluster.leaf(secretName="web-tls")
    await cluster.until_said("Issued")
    first = check_pair(cluster)
    cluster.written()
    cluster.server.merge(names.SECRET, "web-tls", "shop", edit)
    await asyncio.sleep(10)
    assert check_pair(cluster).public_key() != first.public_key()
    assert [kind for _, kind, _, _ in cluster.written()] == ["Secret", "LeafCertificateRequest/status"]
    assert secret(cluster)["metadata"]["labels"][names.LABEL_LEAF] == "true"
    await asyncio.sleep(HOUR)
    assert cluster.written() == []


@with_cluster
async def test_root_added_to_the_bundle_of_a_secret_is_removed_again(cluster: Cluster) -> None:
    cluster.leaf(secretName="web-tls")
    await cluster.until_said("Issued")
    written = entry(cluster, "ca.crt")
    key = pki.key("ECDSA 256", "foreign")
    foreign = pki.imported_root(key, not_before=pki.NOW, not_after=pki.NOW + 99 * pki.DAY)
    more = base64.b64encode(written + certificates.to_pem(foreign).encode()).decode()
    cluster.written()
    cluster.server.merge(names.SECRET, "web-tls", "shop", {"data": {"ca.crt": more}})
    await asyncio.sleep(10)
    assert entry(cluster, "ca.crt") == written
    check_pair(cluster)
    assert [kind for _, kind, _, _ in cluster.written()] == ["Secret", "LeafCertificateRequest/status"]
    await asyncio.sleep(HOUR)
    assert cluster.written() == []


@with_cluster
async def test_signer_cut_out_of_the_chain_is_repaired(cluster: Cluster) -> None:
    cluster.leaf(secretName="web-tls")
    await cluster.until_said("Issued")
    first = check_pair(cluster)
    alone = base64.b64encode(certificates.to_pem(first).encode()).decode()
    cluster.server.merge(names.SECRET, "web-tls", "shop", {"data": {"tls.crt": alone}})
    await asyncio.sleep(10)
    assert check_pair(cluster) != first


@with_cluster
async def test_deleted_secret_comes_back_with_a_new_key(cluster: Cluster) -> None:
    cluster.leaf(secretName="web-tls")
    await cluster.until_said("Issued")
    first = check_pair(cluster)
    cluster.server.delete(names.SECRET, "web-tls", "shop")
    await cluster.until(lambda: cluster.server.find(names.SECRET, "web-tls", "shop"), 3)
    await asyncio.sleep(5)
    assert check_pair(cluster).public_key() != first.public_key()


@with_cluster
async def test_deleted_request_takes_its_secret_along_and_its_name_is_free(cluster: Cluster) -> None:
    cluster.leaf(secretName="web-tls")
    await cluster.until_said("Issued")
    cluster.server.delete(names.LEAF, "web", "shop")
    await asyncio.sleep(5)
    assert cluster.server.find(names.SECRET, "web-tls", "shop") is None
    cluster.leaf(secretName="web-tls")
    await cluster.until_said("Issued", seconds=5)
    check_pair(cluster)


@with_cluster
async def test_request_made_anew_at_once_waits_for_the_old_secret_to_go(cluster: Cluster) -> None:
    cluster.leaf(secretName="web-tls")
    await cluster.until_said("Issued")
    cluster.server.controllers.delay = 3.0
    cluster.server.delete(names.LEAF, "web", "shop")
    cluster.leaf(secretName="web-tls")
    await cluster.until_said("SecretConflict", seconds=3)
    await cluster.until_said("Issued", seconds=20)
    check_pair(cluster)


@with_cluster
async def test_later_of_two_requests_for_one_secret_waits_and_takes_over(cluster: Cluster) -> None:
    cluster.leaf("first", secretName="web-tls")
    await cluster.until_said("Issued", "first")
    cluster.leaf("second", secretName="web-tls")
    await cluster.until_said("SecretConflict", "second")
    assert "'first'" in cluster.said("second") or "not owned" in cluster.said("second")
    check_pair(cluster, "first")
    cluster.written()
    await asyncio.sleep(HOUR)
    assert cluster.written() == []
    cluster.server.delete(names.LEAF, "first", "shop")
    await cluster.until_said("Issued", "second")
    await cluster.until(lambda: cluster.server.find(names.SECRET, "web-tls", "shop"))
    check_pair(cluster, "second")


@with_cluster
async def test_two_requests_of_one_second_never_fight(cluster: Cluster) -> None:
    names_of = [f"web-{number}" for number in range(5)]
    for name in names_of:
        cluster.leaf(name, secretName="web-tls")
    await cluster.until(lambda: all(cluster.ready(name)[1] for name in names_of))
    await asyncio.sleep(30)
    reasons = sorted(cluster.ready(name)[1] for name in names_of)
    assert reasons == ["Issued", *["SecretConflict"] * 4]
    [owner] = [name for name in names_of if cluster.ready(name)[1] == "Issued"]
    first = check_pair(cluster, owner)
    cluster.server.delete(names.SECRET, "web-tls", "shop")
    await asyncio.sleep(30)
    assert cluster.ready(owner) == ("Issued", "Issued")
    assert check_pair(cluster, owner) != first


@with_cluster
async def test_secret_of_somebody_else_is_never_touched(cluster: Cluster) -> None:
    theirs = cluster.server.create(
        names.SECRET, {"metadata": {"name": "web-tls", "namespace": "shop"}, "data": {"a": "QQ=="}}
    )
    cluster.leaf(secretName="web-tls")
    await cluster.until_said("SecretConflict")
    assert "left untouched" in cluster.said()
    await asyncio.sleep(HOUR)
    assert secret(cluster) == theirs
    assert [kind for _, kind, _, code in cluster.written() if code < 300] == ["LeafCertificateRequest/status"]
    cluster.server.delete(names.SECRET, "web-tls", "shop")
    await cluster.until_said("Issued", seconds=400)


@pytest.mark.parametrize("verb", ["create", "patch"])
@pytest.mark.parametrize("how", [{"lose_answer": True}, {"late": 2.0}, {"unreachable": True}], ids=str)
@with_cluster
async def test_answer_to_the_secret_write_lost_makes_one_pair(
    cluster: Cluster, how: dict[str, Any], verb: str
) -> None:
    if verb == "patch":
        cluster.leaf(secretName="web-tls")
        await cluster.until_said("Issued")
    fault = cluster.server.fault(verb=verb, resource=names.SECRET, user=OPERATOR, **how)
    if verb == "patch":
        cluster.server.merge(names.SECRET, "web-tls", "shop", {"data": {"tls.key": "QQ=="}})
    else:
        cluster.leaf(secretName="web-tls")
    await asyncio.sleep(5)
    await cluster.until_said("Issued")
    assert fault.hits == 1
    await asyncio.sleep(20)
    check_pair(cluster)
    cluster.written()
    await asyncio.sleep(HOUR)
    assert cluster.written() == []


@with_cluster
async def test_lost_answer_to_the_status_write_keeps_the_pair(cluster: Cluster) -> None:
    fault = cluster.server.fault(verb="update", resource=names.LEAF, user=OPERATOR, unreachable=True)
    cluster.leaf(secretName="web-tls")
    await cluster.until(lambda: cluster.server.find(names.SECRET, "web-tls", "shop"))
    pair = entry(cluster, "tls.key")
    await cluster.until_said("Issued")
    assert fault.hits == 1
    assert entry(cluster, "tls.key") == pair
    check_pair(cluster)


@with_cluster
async def test_lost_status_is_restored_from_the_secret(cluster: Cluster) -> None:
    cluster.leaf(secretName="web-tls")
    await cluster.until_said("Issued")
    first = check_pair(cluster)
    wiped = dict.fromkeys(cluster.status())
    cluster.server.merge(names.LEAF, "web", "shop", {"status": wiped}, subresource="status")
    cluster.written()
    await cluster.until_said("Issued", seconds=3)
    assert check_pair(cluster) == first
    assert [kind for _, kind, _, _ in cluster.written()] == ["LeafCertificateRequest/status"]


async def test_statuses_lost_while_no_operator_ran_are_restored_from_the_secrets() -> None:
    async with ready() as cluster:
        cluster.leaf(secretName="web-tls")
        await cluster.until_said("Issued")
        first = check_pair(cluster)
    wiped = dict.fromkeys(cluster.status())
    cluster.server.merge(names.LEAF, "web", "shop", {"status": wiped}, subresource="status")
    async with cluster.operator():
        await cluster.until_said("Issued", seconds=10)
        assert check_pair(cluster) == first


async def test_secret_of_another_identity_is_not_taken_over() -> None:
    """Somebody who may write Secrets gives a request a pair that it would not get."""
    async with ready() as cluster:
        cluster.account("shop", "other")
        cluster.leaf("other", secretName="other-tls", serviceAccountName="other")
        cluster.leaf(secretName="web-tls")
        await cluster.until(lambda: cluster.ready("other")[0] == cluster.ready("web")[0] == "Issued")
        data = secret(cluster, "other-tls")["data"]
        cluster.server.merge(names.SECRET, "web-tls", "shop", {"data": data})
        await asyncio.sleep(10)
        leaf = check_pair(cluster)
        assert certificates.uris_of(leaf) == ("spiffe://example.org/ns/shop/sa/web",)
        assert leaf != certificates.load_all(base64.b64decode(data["tls.crt"]))[0]
