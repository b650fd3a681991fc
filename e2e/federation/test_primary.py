"""The primary alone, with a secondary driven by hand that has only the credentials of its invitation."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from e2e import scenario, workload
from e2e.client import path_of
from e2e.federation.world import credentials, invite
from e2e.mesh import rotation
from e2e.rotation.seeds import DAY, Past, Root
from meshca.api import names
from meshca.api.v1alpha1.scalars import format_time
from meshca.pki import issuance, keys
from meshca.pki.certificates import load_all, to_pem
from meshca.pki.identity import SPIFFEID

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.client import Response
    from e2e.cluster import Cluster
    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
HOUR = timedelta(hours=1)
_numbers = itertools.count(1)


@dataclass
class Secondary:
    """What a secondary does in its primary, with its token."""

    cluster: Cluster
    authority: str
    options: tuple[str, ...] = ()
    name: str = field(default_factory=lambda: f"hand-{next(_numbers)}")
    token: str = field(init=False)
    namespace: str = field(init=False)

    def __post_init__(self) -> None:
        manifest = invite(self.cluster, self.name, "--configuration", self.authority, *self.options)
        joined = credentials(manifest)
        self.token, self.namespace = joined.token, joined.namespace

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{self.namespace}:meshca"

    @property
    def registration(self) -> str:
        return path_of(names.FEDERATED_CLUSTER, name=self.name)

    def ask(
        self,
        request: workload.Request,
        *,
        cluster: str = "",
        namespace: str = "",
        requester: str = "",
        identity: str = "",
    ) -> Response:
        """Make a request as itself, or as somebody else."""
        client = self.cluster.client(identity) if identity else self.cluster.client(token=self.token)
        return client.exchange(
            "POST",
            path_of(names.INTERMEDIATE, namespace or self.namespace),
            {
                "apiVersion": names.API_VERSION,
                "kind": names.INTERMEDIATE.kind,
                "metadata": {"name": f"{self.name}-{next(_numbers)}"},
                "spec": {
                    "clusterName": cluster or self.name,
                    "caConfigurationName": self.authority,
                    "request": request.pem,
                    "requester": requester or self.user,
                },
            },
        )

    def answer(self, made: Response, reason: str, says: str = "", timeout: float = 60.0) -> JSON:
        """Wait until a request that was made is answered in this way."""
        assert made.status == 201, made.body["message"]
        meta = made.body["metadata"]
        where = path_of(names.INTERMEDIATE, meta["namespace"], meta["name"])

        def told(item: JSON) -> bool:
            found = scenario.ready(item)
            return found.get("reason") == reason and says in found["message"]

        return scenario.wait_other(self.cluster, where, told, timeout)

    def report(self, **status: Any) -> Response:
        """Report fields with the time of now."""
        fields = {"lastSeen": format_time(datetime.now(UTC))} | status
        client = self.cluster.client(token=self.token)
        return client.exchange("PATCH", f"{self.registration}/status", {"status": fields})

    def follow(self) -> None:
        """Report that it holds every root and issues under the active one."""
        found = self.cluster.request("GET", scenario.path(self.authority))["status"]
        active = self.cluster.request("GET", path_of(names.CA_ROOT, name=found["activeRoot"]))
        answer = self.report(
            roots=found["bundle"]["roots"],
            bundleDigest=found["bundle"]["digest"],
            activeRoot=active["status"]["fingerprint"],
        )
        assert answer.status == 200, answer.body["message"]

    def wait(self, kind: str, reason: str) -> JSON:
        """Wait for the reason of a condition of its registration."""
        return scenario.wait_other(
            self.cluster,
            self.registration,
            lambda item: scenario.ready(item, kind).get("reason") == reason,
        )

    def moved(self, authority: str) -> Secondary:
        """Register it anew, for another CA that cannot be invited to because it does not work yet."""
        body = scenario.restored(self.cluster.request("GET", self.registration))
        self.unregister()
        body["spec"]["caConfigurationName"] = self.authority = authority
        self.cluster.request("POST", path_of(names.FEDERATED_CLUSTER), body)
        return self

    def unregister(self) -> None:
        self.cluster.request("DELETE", self.registration)


def uri_of(cluster: Cluster, authority: str) -> str:
    return f"spiffe://{cluster.request('GET', scenario.path(authority))['status']['trustDomain']}"


def request_for(cluster: Cluster, authority: str) -> workload.Request:
    return workload.csr(uris=[uri_of(cluster, authority)])


def name_of(ca: JSON) -> str:
    return str(ca["metadata"]["name"])


def events_about(cluster: Cluster, name: str) -> set[str]:
    """Return the reasons of Events about objects of a name."""
    found = cluster.request("GET", path_of(names.EVENT))["items"]
    return {item["reason"] for item in found if item["regarding"]["name"].startswith(name)}


def test_125_invited_cluster_gets_a_signer_whose_leaves_verify_under_the_primarys_bundle(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    cluster, authority = installed.cluster, name_of(make_ca(leaf={"ttl": "1h"}))
    west = Secondary(cluster, authority)
    west.wait("Ready", "Registered")
    request = request_for(cluster, authority)
    granted = west.answer(west.ask(request), "Issued")
    status = granted["status"]
    [signer] = load_all(status["certificateChain"])
    constraints = signer.extensions.get_extension_for_oid(ExtensionOID.BASIC_CONSTRAINTS).value
    assert isinstance(constraints, x509.BasicConstraints)
    assert (constraints.ca, constraints.path_length) == (True, 0)
    assert status["notAfter"] == format_time(signer.not_valid_after_utc)
    root = cluster.request("GET", path_of(names.CA_ROOT, name=status["root"]))
    assert json.loads(root["metadata"]["annotations"][names.ANNOTATION_INTERMEDIATES]) == {
        west.name: status["notAfter"]
    }
    leaf = issuance.leaf_certificate(
        keys.generate(keys.KeySpec.of("ECDSA", 256)).public_key(),
        issuer_cert=signer,
        issuer_key=keys.load_trusted(request.key),
        spiffe_id=SPIFFEID.parse(f"{uri_of(cluster, authority)}/ns/far/sa/away"),
        ttl=HOUR,
        now=datetime.now(UTC),
    )
    published = cluster.request("GET", scenario.path(authority))["spec"]["trustBundle"]["configMapName"]
    bundle = scenario.bundle(cluster, namespace, published)
    verdict = workload.openssl_verify(to_pem(leaf, signer), bundle)
    assert verdict == "", verdict
    shown = cluster.kubectl("get", "icr", "--namespace", west.namespace).stdout
    assert "Issued" in shown
    registered = cluster.request("GET", west.registration)
    assert registered["status"]["intermediateTTL"] == "8760h"
    cluster.wait_for(
        lambda _: {"ClusterRegistered", "IntermediateIssued"} <= events_about(cluster, west.name) or None,
        path_of(names.EVENT),
    )


def test_123_what_is_not_the_secondarys_own_is_refused_by_the_api_server(
    installed: Installation, make_ca: Callable[..., JSON]
) -> None:
    cluster, authority = installed.cluster, name_of(make_ca())
    west, east = Secondary(cluster, authority), Secondary(cluster, authority)
    request = request_for(cluster, authority)
    assert west.ask(request, namespace=east.namespace).status == 403
    stolen = west.ask(request, cluster=east.name)
    assert stolen.status == 403
    assert f"may not ask for signers of cluster {east.name}" in stolen.body["message"]
    forged = west.ask(request, requester=east.user)
    assert forged.status == 403
    assert "spec.requester must be the caller" in forged.body["message"]
    client = cluster.client(token=west.token)
    assert client.exchange("PATCH", f"{east.registration}/status", {"status": {}}).status == 403
    assert west.report(conditions=[]).status == 403
    for where in (
        path_of(names.SECRET, scenario.SYSTEM),
        path_of(names.SECRET, west.namespace),
        path_of(names.INTERMEDIATE, east.namespace),
        path_of(names.LEAF),
        path_of(names.FEDERATED_CLUSTER),
    ):
        assert client.exchange("GET", where).status == 403, where


def test_125_what_the_api_server_lets_in_and_is_not_as_registered_is_denied(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    cluster, authority = installed.cluster, name_of(make_ca())
    west = Secondary(cluster, authority)
    request = request_for(cluster, authority)
    west.answer(west.ask(request, requester="admin", identity="admin"), "Denied", "requester")
    west.answer(
        west.ask(request, namespace=namespace, identity=scenario.medic(cluster)),
        "Denied",
        f"registered with namespace '{west.namespace}'",
    )
    other = workload.csr(uris=["spiffe://another.example"])
    west.answer(west.ask(other), "InvalidRequest", uri_of(cluster, authority))
    named = workload.csr(uris=[uri_of(cluster, authority)], dns_names=["far.example"])
    west.answer(west.ask(named), "InvalidRequest", "leave out DNS names")
    lost = west.ask(request, cluster="nobody", requester="admin", identity="admin")
    west.answer(lost, "Denied", "no FederatedCluster 'nobody'")


def test_120_acknowledgement_holds_the_gate_and_unregistering_opens_it(
    installed: Installation, make_ca: Callable[..., JSON]
) -> None:
    cluster, authority = installed.cluster, name_of(make_ca())
    west, east = Secondary(cluster, authority), Secondary(cluster, authority)
    for each in (west, east):
        each.answer(each.ask(request_for(cluster, authority)), "Issued")
        each.follow()
        each.wait("Converged", "UpToDate")
        each.wait("Reachable", "Reporting")
    old = rotation.active(cluster, authority)
    rotation.begin(cluster, authority, rotation={"trigger": "one"})
    held = f"secondary clusters {', '.join(sorted((west.name, east.name)))}"
    scenario.wait_ca(cluster, authority, "Publish", says=held, kind="RotationInProgress")
    west.follow()
    scenario.wait_ca(cluster, authority, "Publish", says=f"clusters {east.name}", kind="RotationInProgress")
    assert rotation.active(cluster, authority) == old
    west.wait("Converged", "UpToDate")
    east.wait("Converged", "Behind")
    east.unregister()
    new = rotation.wait_active(cluster, authority, old)
    west.wait("Converged", "Behind")
    chain = west.answer(west.ask(request_for(cluster, authority)), "Issued")["status"]
    assert chain["root"] == new
    assert len(load_all(chain["certificateChain"])) == 2, "the signer and a cross-certificate by the old root"
    late = east.ask(request_for(cluster, authority))
    east.answer(late, "Denied", "no FederatedCluster")
    cluster.wait_for(
        lambda _: "ClusterUnregistered" in events_about(cluster, east.name) or None, path_of(names.EVENT)
    )


def test_131_silent_secondary_holds_a_root_that_is_past_its_time_until_it_reports(
    disturbed: Installation, room: str
) -> None:
    """A root that was to go an hour ago, under which a secondary was granted a signer that lives on."""
    cluster, operator = disturbed.cluster, disturbed.operator
    operator.stop()
    past = Past(cluster, scenario.configuration(room))
    past.seed(Root("", age=200 * DAY, rotated_out=31 * DAY, prunable=HOUR), Root("second", age=31 * DAY))
    past.body["spec"]["rotation"] = {"trigger": "second"}
    cluster.apply(past.body)
    old = path_of(names.CA_ROOT, name=past.roots[""])
    west = Secondary(cluster, "default").moved(past.name)
    record = json.dumps({west.name: format_time(datetime.now(UTC) + 100 * DAY)})
    notes = {"metadata": {"annotations": {names.ANNOTATION_INTERMEDIATES: record}}}
    cluster.request("PATCH", old, notes, identity=scenario.medic(cluster))
    operator.start()
    operator.wait_ready()
    scenario.wait_ca(
        cluster, past.name, "SecondaryBehind", says=f"'{west.name}' keeps root", kind="Degraded", timeout=60
    )
    scenario.wait_other(
        cluster, old, lambda item: "has not reported" in scenario.ready(item).get("message", "")
    )
    west.follow()
    scenario.wait_gone(cluster, old)
    scenario.wait_ca(cluster, past.name, "AsExpected", kind="Degraded")
    west.unregister()  # or it would be told to be silent in the middle of another scenario
