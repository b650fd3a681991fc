"""The primary's side of a federation on the in-process API server: who gets a signer, and who is served."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from meshca.api import admission, names
from meshca.api.v1alpha1.scalars import format_time
from meshca.pki import certificates, chain, lint
from meshca.pki.identity import TrustDomain
from meshca.pki.issuer import issuer_of
from tests.fakes import pki
from tests.fakes.apiserver.faults import Fault
from tests.fakes.engine import OPERATOR, Cluster, DieAfter, ready, with_cluster
from tests.fakes.secondary import Hand
from tests.fakes.turning import active, trigger

if TYPE_CHECKING:
    from meshca.providers.api import KeyPair, SignerRequest

pytestmark = pytest.mark.looptime
JSON = dict[str, Any]


def root(cluster: Cluster, name: str = "") -> JSON:
    return cluster.server.find(names.CA_ROOT, name or active(cluster)) or {}


def root_certificate(cluster: Cluster) -> x509.Certificate:
    return certificates.load_one(root(cluster)["spec"]["certificate"])


def record(cluster: Cluster, name: str = "") -> JSON:
    notes = root(cluster, name)["metadata"].get("annotations") or {}
    return dict(json.loads(notes.get(names.ANNOTATION_INTERMEDIATES, "{}")))


@with_cluster
async def test_125_registered_cluster_gets_a_signer_of_pathlen_0_under_the_active_root(
    cluster: Cluster,
) -> None:
    west = Hand(cluster)
    west.register(maxIntermediateTTL="720h")
    key = pki.key("ECDSA 384", "west")
    name = west.ask(key=key)
    await cluster.until(lambda: west.said(name)[0] == "Issued", 5)
    answer = west.answer(name)
    [signer] = certificates.load_all(answer["certificateChain"])
    domain = TrustDomain.parse("example.org")
    lint.lint_signer(signer, issuer_of(root_certificate(cluster)), trust_domain=domain)
    chain.check_issued(signer, root_certificate(cluster))
    assert signer.public_key() == key.public_key()
    assert certificates.facts(signer).uris == ("spiffe://example.org",)
    assert signer.not_valid_after_utc - cluster.clock.now() <= timedelta(hours=720)
    assert (answer["root"], answer["notAfter"]) == (
        active(cluster),
        format_time(signer.not_valid_after_utc),
    )
    assert record(cluster) == {"west": answer["notAfter"]}
    assert west.ttl() == "720h"
    assert west.condition("Ready")[:2] == ("True", "Registered")
    await asyncio.sleep(5)
    assert west.events() == ["ClusterRegistered", "IntermediateIssued"]


@with_cluster
async def test_i7_grant_is_one_record_and_one_status_and_a_second_look_writes_nothing(
    cluster: Cluster,
) -> None:
    west = Hand(cluster)
    west.register()
    await asyncio.sleep(5)
    cluster.written()
    name = west.ask()
    await asyncio.sleep(5)
    assert west.said(name)[0] == "Issued"
    kinds = [(verb, kind) for verb, kind, _, _ in cluster.written()]
    assert kinds == [("patch", "CARoot"), ("update", "IntermediateCertificateRequest/status")]
    async with cluster.operator():
        await asyncio.sleep(700)
    assert cluster.written() == []


async def test_chain_holds_the_cross_certificates_of_the_active_root() -> None:
    async with ready() as cluster:
        old = root_certificate(cluster)
        trigger(cluster, "one")
        await cluster.until(lambda: root_certificate(cluster) != old, 120)
        west = Hand(cluster)
        west.register()
        signer, cross = await west.granted()
        chain.verify(signer, (cross,), (old,), at=cluster.clock.now())
        chain.verify(signer, (), (root_certificate(cluster),), at=cluster.clock.now())


def _pem_without_uri() -> str:
    return pki.request(pki.key("ECDSA 256", "bare"))


REFUSED: list[tuple[str, JSON, str, str]] = [
    ("another-cluster", {"clusterName": "east"}, "Denied", "no FederatedCluster 'east'"),
    ("another-user", {"requester": "system:serviceaccount:shop:web"}, "Denied", "requester"),
    ("no-user", {"requester": None}, "Denied", "requester"),
    ("another-configuration", {"caConfigurationName": "other"}, "Denied", "CAConfiguration 'default'"),
    ("no-uri", {"request": _pem_without_uri()}, "InvalidRequest", "spiffe://example.org"),
    (
        "dns",
        {"request": pki.request(None, pki.uri("spiffe://example.org"), x509.DNSName("a.b"))},
        "InvalidRequest",
        "leave out DNS names",
    ),
]


@pytest.mark.parametrize(
    ("spec", "reason", "said"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
async def test_125_what_is_not_as_registered_is_refused(spec: JSON, reason: str, said: str) -> None:
    async with ready() as cluster:
        west = Hand(cluster)
        west.register()
        name = west.ask(**spec)
        await cluster.until(lambda: west.said(name)[0] == reason, 5)
        assert said in west.said(name)[1]
        assert "certificateChain" not in west.answer(name)
        await asyncio.sleep(5)
        assert record(cluster) == {}
        assert west.events().count("IntermediateRefused") == 1


@with_cluster
async def test_125_another_trust_domain_and_a_second_name_are_refused(cluster: Cluster) -> None:
    west = Hand(cluster)
    west.register()
    for uris in (
        ("spiffe://other.org",),
        ("spiffe://example.org", "spiffe://example.org/ns/a/sa/b"),
        ("spiffe://example.org/ns/a/sa/b",),
    ):
        name = west.ask(*uris)
        await cluster.until(lambda name=name: west.said(name)[0] == "InvalidRequest", 5)  # type: ignore[misc]


@with_cluster
async def test_request_in_another_namespace_is_refused(cluster: Cluster) -> None:
    west, thief = Hand(cluster), Hand(cluster, namespace="shop")
    west.register()
    name = thief.ask(requester=west.user)
    await cluster.until(lambda: thief.said(name)[0] == "Denied", 5)
    assert "namespace 'meshca-fed-west'" in thief.said(name)[1]


@with_cluster
async def test_request_made_before_its_cluster_is_registered_is_signed_once_it_is(cluster: Cluster) -> None:
    west = Hand(cluster)
    cluster.server.create(names.NAMESPACE, {"metadata": {"name": west.namespace}})
    name = west.ask()
    await cluster.until(lambda: west.said(name)[0] == "Denied", 5)
    west.register()
    await cluster.until(lambda: west.said(name)[0] == "Issued", 5)


@with_cluster
async def test_unregistered_cluster_gets_no_other_signer_and_that_is_shown(cluster: Cluster) -> None:
    west = Hand(cluster)
    west.register()
    first = west.ask()
    await cluster.until(lambda: west.said(first)[0] == "Issued", 5)
    west.report(activeRoot=root(cluster)["status"]["fingerprint"])
    await asyncio.sleep(2)
    assert cluster.tally.clusters["default", "west"] is not None
    west.unregister()
    await asyncio.sleep(5)
    assert "not registered any more" in west.said(first)[1]
    assert west.said(first)[0] == "Issued"
    second = west.ask()
    await cluster.until(lambda: west.said(second)[0] == "Denied", 5)
    assert west.events().count("ClusterUnregistered") == 1
    assert cluster.tally.clusters["default", "west"] is None


@with_cluster
async def test_second_cluster_in_a_namespace_is_not_served_until_the_first_is_gone(cluster: Cluster) -> None:
    west = Hand(cluster)
    west.register()
    await asyncio.sleep(2)
    east = Hand(cluster, "east", west.namespace)
    east.register()
    await cluster.until(lambda: east.condition("Ready")[1] == "NamespaceTaken", 5)
    assert "'west'" in east.condition("Ready")[2]
    assert west.condition("Ready")[1] == "Registered"
    mine, its = west.ask(), east.ask()
    await cluster.until(lambda: west.said(mine)[0] == "Issued" and east.said(its)[0] == "Denied", 5)
    west.unregister()
    await cluster.until(lambda: east.said(its)[0] == "Issued", 5)
    assert east.condition("Ready")[:2] == ("True", "Registered")


async def test_policy_that_is_not_as_shipped_stops_signing_and_what_came_meanwhile_is_refused() -> None:
    async with ready() as cluster:
        west = Hand(cluster)
        west.register()
        binding = (names.VALIDATING_BINDING, admission.INTERMEDIATES, "")
        cluster.server.merge(*binding, {"spec": {"validationActions": ["Audit"]}})
        await asyncio.sleep(2)
        name = west.ask()
        await cluster.until(lambda: west.said(name)[0] == "SignerNotReady", 5)
        # Leaves have a policy of their own.
        assert cluster.condition()[:2] == ("True", "Initialised")
        cluster.server.merge(*binding, {"spec": {"validationActions": ["Deny"]}})
        await cluster.until(lambda: west.said(name)[0] == "PolicyGap", 5)
        await asyncio.sleep(40)
        assert west.said(name)[0] == "PolicyGap"
        await west.granted()


@pytest.mark.parametrize("lost", [False, True], ids=["killed", "unanswered"])
@pytest.mark.parametrize("count", range(4))
async def test_operator_killed_while_it_grants_grants_once_and_records_first(count: int, lost: bool) -> None:
    async with ready() as cluster:
        pass
    west = Hand(cluster)
    west.register()
    name = west.ask()
    death = DieAfter(writes=count, lose_last=lost, times=None)
    cluster.server.faults.append(death)
    async with cluster.operator():
        await asyncio.sleep(8)
    cluster.server.faults.clear()
    before = west.answer(name).get("certificateChain")
    if before:
        assert record(cluster)["west"] >= west.answer(name)["notAfter"]
    async with cluster.operator():
        await cluster.until(lambda: west.said(name)[0] == "Issued", 30)
        await asyncio.sleep(5)
        assert record(cluster)["west"] >= west.answer(name)["notAfter"]
        assert before in {None, west.answer(name)["certificateChain"]}
        cluster.written()
        await asyncio.sleep(700)
        assert cluster.written() == []


@with_cluster
async def test_record_that_somebody_else_changes_meanwhile_is_kept(cluster: Cluster) -> None:
    west, east = Hand(cluster), Hand(cluster, "east")
    west.register()
    east.register()
    await asyncio.sleep(2)
    cluster.server.faults.append(
        Fault(user=OPERATOR, verb="patch", resource=names.CA_ROOT, delay=1.0, times=1)
    )
    one, other = west.ask(), east.ask()
    await cluster.until(lambda: west.said(one)[0] == east.said(other)[0] == "Issued", 10)
    assert set(record(cluster)) == {"west", "east"}


@with_cluster
async def test_superseded_and_refused_requests_are_removed_after_a_day(cluster: Cluster) -> None:
    west = Hand(cluster)
    west.register()
    first, bad = west.ask(), west.ask("spiffe://other.org")
    await cluster.until(lambda: west.said(first)[0] == "Issued" and west.said(bad)[0], 5)
    await asyncio.sleep(3600)
    second = west.ask()
    await cluster.until(lambda: west.said(second)[0] == "Issued", 5)

    def left() -> set[str]:
        return {item["metadata"]["name"] for item in cluster.server.all(names.INTERMEDIATE)}

    await asyncio.sleep(23 * 3600 - 60)
    assert left() == {first, bad, second}
    await cluster.until(lambda: left() == {first, second}, 120)
    await cluster.until(lambda: left() == {second}, 3700)


@with_cluster
async def test_124_secondary_signs_none(cluster: Cluster) -> None:
    primary = {"kubeconfigSecretName": "x", "bundleDigest": "0" * 64}
    cluster.server.create(
        names.CA_CONFIGURATION,
        {"metadata": {"name": "mirror"}, "spec": {"federation": {"primary": primary}}},
    )
    west = Hand(cluster)
    west.register(caConfigurationName="mirror")
    name = west.ask(caConfigurationName="mirror")
    await cluster.until(lambda: west.said(name)[0] == "Denied", 5)
    assert "not the primary" in west.said(name)[1]
    assert west.condition("Ready")[1] == "NotThePrimary"


@with_cluster
async def test_provider_that_signs_something_else_is_told_and_tried_again(cluster: Cluster) -> None:
    engine = cluster.engine
    assert engine is not None
    provider = engine.providers.get("Builtin")
    other = pki.authority("ECDSA 256", "other")
    good = provider.sign_signer

    async def wrong(*_: Any) -> x509.Certificate:
        return other.signer

    provider.sign_signer = wrong  # type: ignore[method-assign,assignment]
    west = Hand(cluster)
    west.register()
    name = west.ask()
    await cluster.until(lambda: west.said(name)[0] == "SignerNotReady", 5)
    provider.sign_signer = good  # type: ignore[method-assign]
    await cluster.until(lambda: west.said(name)[0] == "Issued", 60)


@with_cluster
async def test_silence_is_told_by_a_timer_once_and_so_is_the_return(cluster: Cluster) -> None:
    west = Hand(cluster)
    west.register()
    await cluster.until(lambda: west.condition("Reachable")[1] == "NeverSeen", 5)
    assert west.condition("Converged")[1] == "NeverSeen"
    west.follow()
    await cluster.until(lambda: west.condition("Reachable")[1] == "Reporting", 5)
    assert west.condition("Converged")[:2] == ("True", "UpToDate")
    assert cluster.tally.clusters["default", "west"] is not None
    for _ in range(6):
        await asyncio.sleep(300)
        west.report()
    assert west.condition("Reachable")[0] == "True"
    await asyncio.sleep(14 * 60)
    cluster.written()
    await cluster.until(lambda: west.condition("Reachable")[:2] == ("False", "Silent"), 90)
    await asyncio.sleep(3600)
    assert [kind for _, kind, _, _ in cluster.written()] == ["FederatedCluster/status"]
    west.report()
    await cluster.until(lambda: west.condition("Reachable")[0] == "True", 5)
    await asyncio.sleep(5)
    told = west.events()
    assert sorted(told[1:3]) == ["ClusterConverged", "ClusterReachable"]
    assert [told[0], *told[3:]] == ["ClusterRegistered", "ClusterUnreachable", "ClusterReachable"]


@with_cluster
async def test_report_of_a_lagging_cluster_says_what_it_lacks(cluster: Cluster) -> None:
    west = Hand(cluster)
    west.register()
    west.report(roots=[], activeRoot="")
    await cluster.until(lambda: west.condition("Converged")[1] == "Behind", 5)
    fingerprint = root(cluster)["status"]["fingerprint"]
    assert fingerprint[:10] in west.condition("Converged")[2]
    west.report(roots=[fingerprint], activeRoot="")
    await cluster.until(lambda: "issues under no root" in west.condition("Converged")[2], 5)


@with_cluster
async def test_cluster_registered_with_a_configuration_that_does_not_exist_is_told(cluster: Cluster) -> None:
    west = Hand(cluster)
    west.register(caConfigurationName="later")
    await cluster.until(lambda: west.condition("Ready")[1] == "ConfigurationNotFound", 5)
    assert west.ttl() == ""
    name = west.ask(caConfigurationName="later")
    await cluster.until(lambda: west.said(name)[0] == "SignerNotReady", 5)
    cluster.configure("later", trustDomain="later.org", trustBundle={"configMapName": "later"})
    await cluster.until(lambda: west.condition("Ready")[1] == "Registered", 60)
    await cluster.until(lambda: west.said(name)[0] == "InvalidRequest", 5)


@with_cluster
async def test_provider_whose_signer_would_outlive_its_record_is_refused(cluster: Cluster) -> None:
    engine = cluster.engine
    assert engine is not None
    provider = engine.providers.get("Builtin")
    good = provider.sign_signer

    async def longer(root: KeyPair, request: SignerRequest) -> x509.Certificate:
        return await good(root, replace(request, ttl=2 * request.ttl))

    provider.sign_signer = longer  # type: ignore[method-assign]
    west = Hand(cluster)
    west.register()
    name = west.ask()
    await cluster.until(lambda: west.said(name)[0] == "SignerNotReady", 5)
    assert "longer than was put on record" in west.said(name)[1]
    provider.sign_signer = good  # type: ignore[method-assign]


@with_cluster
async def test_what_vanished_while_no_watch_told_of_it_is_forgotten(cluster: Cluster) -> None:
    engine = cluster.engine
    assert engine is not None
    west = Hand(cluster)
    west.register()
    await west.granted()
    intake = engine.intake.federation
    intake.clusters["ghost"] = replace(intake.clusters["west"], uid="gone")
    intake.requests[west.namespace, "ghost"] = replace(next(iter(intake.requests.values())), uid="gone")
    intake.look_at_all()
    await asyncio.sleep(5)
    assert set(intake.clusters) == {"west"}
    assert len(intake.requests) == 1
