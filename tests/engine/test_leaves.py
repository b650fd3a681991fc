"""CSR leaves on an API server: write budget, conflicts, answers that never come, renewal, removal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from meshca.api import names
from meshca.api.v1alpha1.scalars import format_time, parse_time
from meshca.engine.intake import leaf_key
from meshca.pki import certificates
from tests.fakes import pki
from tests.fakes.engine import OPERATOR, ready, with_cluster

if TYPE_CHECKING:
    from cryptography import x509

    from tests.fakes.engine import Cluster

pytestmark = pytest.mark.looptime

HOUR = 3600.0
JSON = dict[str, Any]


def certificate(cluster: Cluster, name: str = "web") -> x509.Certificate:
    return certificates.load_all(cluster.status(name)["certificateChain"])[0]


@with_cluster
async def test_i7_csr_leaf_is_issued_with_one_write(cluster: Cluster) -> None:
    cluster.leaf()
    await cluster.until_said("Issued")
    await asyncio.sleep(20)
    assert cluster.written() == [("update", "LeafCertificateRequest/status", "web", 200)]
    leaf, signer = certificates.load_all(cluster.status()["certificateChain"])
    leaf.verify_directly_issued_by(signer)
    assert certificates.uris_of(leaf) == ("spiffe://example.org/ns/shop/sa/web",)
    assert leaf.public_key() == pki.key("ECDSA 256", "leaf").public_key()


@with_cluster
async def test_status_says_what_the_certificate_says(cluster: Cluster) -> None:
    cluster.leaf()
    await cluster.until_said("Issued")
    facts, status = certificates.facts(certificate(cluster)), cluster.status()
    assert status["serialNumber"] == facts.serial
    assert status["spiffeID"] == facts.uris[0]
    assert status["notBefore"] == format_time(facts.not_before)
    assert status["notAfter"] == format_time(facts.not_after)
    assert status["root"] == cluster.server.all(names.CA_ROOT)[0]["metadata"]["name"]
    life = facts.not_after - facts.not_before
    assert 0.6 <= (parse_time(status["renewAt"]) - facts.not_before) / life <= 0.9
    assert cluster.tally.issued == {("default", "csr"): 1}


@with_cluster
async def test_manual_leaf_is_not_renewed_and_removed_an_hour_after_its_end(cluster: Cluster) -> None:
    cluster.leaf(ttl="1h")
    await cluster.until_said("Issued")
    cluster.written()
    await asyncio.sleep(2 * HOUR - 60)
    assert cluster.written() == []
    await asyncio.sleep(120)
    assert cluster.written() == [("delete", "LeafCertificateRequest", "web", 200)]
    assert cluster.leaves() == []


@with_cluster
async def test_automatic_leaf_is_renewed_at_its_time_with_the_same_key(cluster: Cluster) -> None:
    cluster.leaf(renewal="Automatic")
    await cluster.until_said("Issued")
    first, due = certificate(cluster), parse_time(cluster.status()["renewAt"])
    cluster.written()
    await asyncio.sleep((due - cluster.clock.now()).total_seconds() - 5)
    assert cluster.written() == []
    await asyncio.sleep(15)
    assert cluster.written() == [("update", "LeafCertificateRequest/status", "web", 200)]
    second = certificate(cluster)
    assert second.serial_number != first.serial_number
    assert second.public_key() == first.public_key()
    assert parse_time(cluster.status()["renewAt"]) > due
    assert cluster.ready() == ("Issued", "Issued")


async def test_expired_leaf_found_at_a_start_is_renewed_without_a_gap() -> None:
    async with ready() as cluster:
        cluster.leaf(renewal="Automatic")
        cluster.leaf("kept", secretName="kept-tls")
        await cluster.until(lambda: cluster.ready("web")[0] == cluster.ready("kept")[0] == "Issued")
        first = certificate(cluster)
    await asyncio.sleep(100 * HOUR)
    # The policy was applied anew meanwhile, so the requests are older than it.
    for resource in (names.VALIDATING_POLICY, names.VALIDATING_BINDING):
        cluster.server.delete(resource, "requester.meshca.dev")
    cluster.policy()
    await asyncio.sleep(60)
    async with cluster.operator():
        await cluster.until(lambda: certificate(cluster) != first)
        await asyncio.sleep(10)
        assert cluster.ready("web") == cluster.ready("kept") == ("Issued", "Issued")


@with_cluster
async def test_missing_account_is_told_once_and_heals(cluster: Cluster) -> None:
    cluster.leaf(serviceAccountName="later")
    await cluster.until_said("Pending")
    assert "create it and the certificate follows" in cluster.said()
    await asyncio.sleep(HOUR)
    assert [kind for _, kind, _, _ in cluster.written()] == ["LeafCertificateRequest/status"]
    cluster.account("shop", "later")
    await cluster.until_said("Issued", seconds=2)


@with_cluster
async def test_account_and_request_made_at_once_make_no_detour(cluster: Cluster) -> None:
    cluster.server.cut_watches(names.SERVICE_ACCOUNT)
    cluster.account("shop", "new")
    cluster.leaf(serviceAccountName="new")
    await cluster.until_said("Issued", seconds=3)
    assert len(cluster.written()) == 1


@with_cluster
async def test_renewal_waits_for_an_account_that_is_gone_until_it_is_back(
    cluster: Cluster,
) -> None:
    cluster.leaf(renewal="Automatic", ttl="1h")
    await cluster.until_said("Issued")
    cluster.server.delete(names.SERVICE_ACCOUNT, "web", "shop")
    await cluster.until(lambda: cluster.ready() == ("Renew", "Pending"), HOUR)
    assert cluster.status()["certificateChain"]
    assert cluster.status()["conditions"][0]["status"] == "True"
    cluster.account("shop", "web")
    await cluster.until_said("Issued", seconds=2)


@with_cluster
async def test_denied_is_told_once_and_removed_after_a_day(cluster: Cluster) -> None:
    cluster.leaf(request=pki.request(None, pki.uri("spiffe://example.org/ns/shop/sa/root")))
    await cluster.until_said("Denied")
    assert cluster.ready()[0] == "Failed"
    assert "spiffe://example.org/ns/shop/sa/web" in cluster.said()
    await asyncio.sleep(24 * HOUR - 60)
    assert len(cluster.written()) == 1
    await asyncio.sleep(120)
    assert cluster.leaves() == []


async def test_namespace_that_gets_its_label_just_before_the_request_is_not_denied() -> None:
    selector = {"namespaceSelector": {"matchLabels": {"mesh": "yes"}}}
    async with ready(identity=selector) as cluster:
        cluster.server.silence_watches(names.NAMESPACE)
        cluster.server.merge(names.NAMESPACE, "shop", "", {"metadata": {"labels": {"mesh": "yes"}}})
        cluster.leaf()
        await cluster.until_said("Issued", seconds=3)
        cluster.server.create(names.NAMESPACE, {"metadata": {"name": "other"}})
        cluster.account("other", "web")
        cluster.leaf("no", "other")
        await cluster.until(lambda: cluster.ready("no", "other") == ("Failed", "Denied"))


@with_cluster
async def test_conflict_on_the_status_write_is_followed_by_one_more(cluster: Cluster) -> None:
    def touch(_: Any) -> None:
        cluster.server.merge(names.LEAF, "web", "shop", {"metadata": {"labels": {"a": "b"}}})

    cluster.server.fault(verb="update", resource=names.LEAF, before=touch)
    cluster.server.silence_watches(names.LEAF)
    cluster.engine.intake.leaf("ADDED", cluster.leaf())  # type: ignore[union-attr]
    await cluster.until_said("Issued", seconds=3)
    assert [code for *_, code in cluster.written()] == [409, 200]


@with_cluster
async def test_conflict_with_its_deletion_ends_quietly(cluster: Cluster) -> None:
    cluster.server.fault(
        verb="update", resource=names.LEAF, before=lambda _: cluster.server.delete(names.LEAF, "web", "shop")
    )
    cluster.leaf()
    await asyncio.sleep(30)
    assert [code for *_, code in cluster.written()] == [404]
    assert cluster.engine is not None
    assert cluster.engine.queue.in_flight == 0
    assert cluster.engine.store.leaves.get(("shop", "web")) is None


@pytest.mark.parametrize("how", [{"lose_answer": True}, {"late": 2.0}, {"unreachable": True}], ids=str)
@pytest.mark.parametrize("watching", [True, False], ids=["watch alive", "watch silent"])
@with_cluster
async def test_answer_to_the_status_write_lost_issues_once(
    cluster: Cluster, how: dict[str, Any], watching: bool
) -> None:
    fault = cluster.server.fault(verb="update", resource=names.LEAF, user=OPERATOR, **how)
    body = cluster.leaf()
    if not watching:
        cluster.server.silence_watches(names.LEAF)
        assert cluster.engine is not None
        cluster.engine.intake.leaf("ADDED", body)
    await cluster.until_said("Issued")
    first = certificate(cluster)
    await asyncio.sleep(60)
    assert fault.hits == 1
    assert certificate(cluster) == first
    accepted = [code for *_, code in cluster.written() if code == 200]
    assert len(accepted) == 1
    assert cluster.ready() == ("Issued", "Issued")


@with_cluster
async def test_status_of_a_good_leaf_that_somebody_wrote_is_put_right(cluster: Cluster) -> None:
    cluster.leaf(renewal="Automatic")
    await cluster.until_said("Issued")
    first = certificate(cluster)
    forged = {"state": "Failed", "renewAt": "2099-01-01T00:00:00Z", "conditions": []}
    cluster.server.merge(names.LEAF, "web", "shop", {"status": forged}, subresource="status")
    await cluster.until(lambda: cluster.ready() == ("Issued", "Issued"))
    assert certificate(cluster) == first
    await asyncio.sleep(70 * HOUR)
    assert certificate(cluster) != first, "the forged renewAt counted"


@with_cluster
async def test_chain_that_somebody_else_holds_is_no_certificate_of_this_request(cluster: Cluster) -> None:
    cluster.leaf()
    await cluster.until_said("Issued")
    theirs = cluster.status()
    cluster.leaf("thief", request=pki.request(pki.key("ECDSA 256", "thief")), serviceAccountName="later")
    await cluster.until_said("Pending", "thief")
    cluster.server.merge(names.LEAF, "thief", "shop", {"status": theirs}, subresource="status")
    await cluster.until_said("Pending", "thief")
    await asyncio.sleep(20)
    assert cluster.ready("thief") == ("Pending", "Pending")


@with_cluster
async def test_lost_status_is_signed_again(cluster: Cluster) -> None:
    cluster.leaf()
    await cluster.until_said("Issued")
    found = cluster.server.find(names.LEAF, "web", "shop")
    assert found is not None
    wiped = dict.fromkeys(found["status"])
    cluster.server.merge(names.LEAF, "web", "shop", {"status": wiped}, subresource="status")
    await cluster.until_said("Issued", seconds=3)
    assert cluster.status()["certificateChain"]


async def test_rate_limited_request_is_told_once_and_then_served() -> None:
    async with ready(limits={"csrMaxPerSecond": 0.1}) as cluster:
        for number in range(4):
            cluster.leaf(f"web-{number}")
        await asyncio.sleep(4)
        assert [code for *_, code in cluster.written()] == [200]
        await asyncio.sleep(2)
        reasons = sorted(cluster.ready(f"web-{number}")[1] for number in range(4))
        assert reasons == ["Issued", "RateLimited", "RateLimited", "RateLimited"]
        await asyncio.sleep(60)
        assert {cluster.ready(f"web-{number}") for number in range(4)} == {("Issued", "Issued")}
        assert len(cluster.written()) == 6


async def test_due_times_survive_a_restart() -> None:
    async with ready() as cluster:
        cluster.leaf(renewal="Automatic")
        await cluster.until_said("Issued")
        first, due = certificate(cluster), parse_time(cluster.status()["renewAt"])
    await asyncio.sleep(HOUR)
    cluster.written()
    async with cluster.operator() as engine:
        await cluster.until(lambda: engine.timers.due(leaf_key("shop", "web")) == due)
        await asyncio.sleep((due - cluster.clock.now()).total_seconds() - 10)
        assert cluster.written() == []
        await asyncio.sleep(20)
        assert certificate(cluster) != first


@with_cluster
async def test_configuration_that_does_not_exist_is_told_and_heals(cluster: Cluster) -> None:
    cluster.leaf(caConfigurationName="blue")
    await cluster.until_said("ConfigurationNotFound")
    assert "'blue' does not exist" in cluster.said()
    cluster.configure("blue", trustDomain="blue.org", trustBundle={"configMapName": "blue"})
    await cluster.until_said("Issued")
    assert cluster.status()["spiffeID"] == "spiffe://blue.org/ns/shop/sa/web"


@with_cluster
async def test_deleted_configuration_stops_issuing_and_keeps_everything(cluster: Cluster) -> None:
    cluster.leaf()
    await cluster.until_said("Issued")
    kept = (len(cluster.secrets()), len(cluster.server.all(names.CA_ROOT)))
    bundles = [
        item for item in cluster.server.all(names.CONFIG_MAP) if "meshca-trust" in item["metadata"]["name"]
    ]
    cluster.server.delete(names.CA_CONFIGURATION, "default")
    await asyncio.sleep(1)
    cluster.leaf("late")
    await cluster.until_said("ConfigurationNotFound", "late")
    assert cluster.ready() == ("Issued", "Issued")
    assert (len(cluster.secrets()), len(cluster.server.all(names.CA_ROOT))) == kept
    assert len(bundles) == 4
    assert cluster.tally.forgotten == ["default"]
    root = cluster.status()["root"]
    cluster.configure()
    await cluster.until_said("Issued", "late")
    assert cluster.status("late")["root"] == root
    assert len(cluster.secrets()) == kept[0]
