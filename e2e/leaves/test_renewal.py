"""Renewal: due times moved to the past in status, as only the break-glass group may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from e2e import scenario, workload

if TYPE_CHECKING:
    from e2e.cluster import Cluster
    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
PAST = "2026-01-01T00:00:00Z"


def make_due(cluster: Cluster, namespace: str, *names: str) -> None:
    for name in names:
        where = f"{workload.path(namespace, name)}/status"
        cluster.request("PATCH", where, {"status": {"renewAt": PAST}}, identity=scenario.medic(cluster))


def wait_renewed(cluster: Cluster, namespace: str, before: JSON, timeout: float = 10) -> JSON:
    serial = before["status"]["serialNumber"]
    return scenario.wait_other(
        cluster,
        workload.path(namespace, before["metadata"]["name"]),
        lambda item: item["status"]["serialNumber"] != serial,
        timeout,
    )


def issued(cluster: Cluster, namespace: str, name: str, **spec: Any) -> JSON:
    workload.create(cluster, workload.leaf(namespace, name, **spec))
    return workload.wait_reason(cluster, namespace, name, "Issued")


def test_what_is_due_is_renewed_within_seconds_and_by_as_few_writes(
    installed: Installation, namespace: str
) -> None:
    cluster = installed.cluster
    request = workload.csr()
    managed = issued(cluster, namespace, "managed", secretName="managed-tls")
    automatic = issued(cluster, namespace, "automatic", request=request.pem, renewal="Automatic")
    manual = issued(cluster, namespace, "manual", request=workload.csr().pem)
    key = cluster.request("GET", scenario.secret_path("managed-tls", namespace))["data"]["tls.key"]
    scenario.bundle(cluster, namespace)
    mark = cluster.audit_mark()
    make_due(cluster, namespace, "managed", "automatic", "manual")

    renewed = wait_renewed(cluster, namespace, managed)
    secret = cluster.request("GET", scenario.secret_path("managed-tls", namespace))
    assert secret["data"]["tls.key"] != key, "a new certificate has a new key"
    assert workload.secret_entry(secret, "tls.crt").decode() == renewed["status"]["certificateChain"]
    assert renewed["status"]["renewAt"] > managed["status"]["renewAt"][:10]
    again = wait_renewed(cluster, namespace, automatic)
    leaf = workload.certificates(again["status"]["certificateChain"])[0]
    assert leaf.public_key() == load_pem_private_key(request.key, None).public_key()
    roots = scenario.bundle(cluster, namespace)
    for body in (renewed, again):
        assert workload.openssl_verify(body["status"]["certificateChain"], roots) == ""

    kept = cluster.request("GET", workload.path(namespace, "manual"))
    assert kept["status"] == manual["status"] | {"renewAt": PAST}, "its holder has to ask again"
    writes = [write for write in scenario.operator_writes(cluster, mark) if write[2] == namespace]
    assert sorted(writes) == [
        ("patch", "secrets", namespace, "managed-tls"),
        ("update", "leafcertificaterequests/status", namespace, "automatic"),
        ("update", "leafcertificaterequests/status", namespace, "managed"),
    ]


def test_115_a_renewal_that_fails_keeps_the_certificate_and_heals(
    installed: Installation, namespace: str
) -> None:
    cluster = installed.cluster
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    cluster.request("POST", accounts, {"metadata": {"name": "shortlived"}})
    spec = {"account": "shortlived", "secretName": "kept-tls"}
    before = issued(cluster, namespace, "kept", **spec)
    secret = cluster.request("GET", scenario.secret_path("kept-tls", namespace))
    cluster.request("DELETE", f"{accounts}/shortlived")
    make_due(cluster, namespace, "kept")
    failing = workload.wait_reason(cluster, namespace, "kept", "Pending")
    assert failing["status"]["state"] == "Renew"
    assert scenario.ready(failing)["status"] == "True", "its certificate is good until it expires"
    assert "ServiceAccount 'shortlived' does not exist" in workload.ready_message(failing)
    assert failing["status"]["certificateChain"] == before["status"]["certificateChain"]
    assert cluster.request("GET", scenario.secret_path("kept-tls", namespace)) == secret

    cluster.request("POST", accounts, {"metadata": {"name": "shortlived"}})
    healed = wait_renewed(cluster, namespace, before)
    assert (healed["status"]["state"], scenario.ready(healed)["reason"]) == ("Issued", "Issued")


def test_a_fleet_created_at_once_is_not_due_at_once(installed: Installation, namespace: str) -> None:
    cluster = installed.cluster
    for number in range(20):
        workload.create(cluster, workload.leaf(namespace, f"web-{number}", request=workload.csr().pem))

    def all_issued(items: list[JSON]) -> list[str] | None:
        times = [item.get("status", {}).get("renewAt", "") for item in items]
        return times if len(times) == 20 and all(times) else None

    times = cluster.wait_for(all_issued, workload.path(namespace))
    assert len(set(times)) == 20
    assert len({moment[:13] for moment in times}) >= 8, "spread over 30 % of 72 hours"
