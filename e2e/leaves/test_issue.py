"""Leaves end to end: issued, written once, repaired, refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from e2e import workload

if TYPE_CHECKING:
    from e2e.cluster import Cluster
    from e2e.installation import Installation


def bundle(cluster: Cluster, namespace: str) -> str:
    place = f"/api/v1/namespaces/{namespace}/configmaps/meshca-trust-bundle"
    found = cluster.wait_for(lambda items: items[0] if items else None, place)
    return str(found["data"]["ca.crt"])


def test_csr_leaf_verifies_and_names_the_account(installed: Installation, namespace: str) -> None:
    cluster = installed.cluster
    request = workload.csr()
    workload.create(cluster, workload.leaf(namespace, "web", request=request.pem))
    issued = workload.wait_reason(cluster, namespace, "web", "Issued")
    chain = issued["status"]["certificateChain"]
    leaf, signer = workload.certificates(chain)
    uris = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.UniformResourceIdentifier
    )
    assert uris == [f"spiffe://e2e.example/ns/{namespace}/sa/default"]
    assert issued["status"]["spiffeID"] == uris[0]
    assert signer.not_valid_after_utc >= leaf.not_valid_after_utc
    assert leaf.public_key() == load_pem_private_key(request.key, None).public_key()
    assert workload.openssl_verify(chain, bundle(cluster, namespace)) == ""


def test_managed_leaf_keeps_a_tls_secret(installed: Installation, namespace: str) -> None:
    cluster = installed.cluster
    made = workload.create(cluster, workload.leaf(namespace, "api", secretName="api-tls"))
    issued = workload.wait_reason(cluster, namespace, "api", "Issued")
    secret = cluster.request("GET", f"/api/v1/namespaces/{namespace}/secrets/api-tls")
    assert secret["type"] == "kubernetes.io/tls"
    assert secret["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    chain = workload.secret_entry(secret, "tls.crt").decode()
    assert chain == issued["status"]["certificateChain"]
    key = load_pem_private_key(workload.secret_entry(secret, "tls.key"), None)
    assert key.public_key() == workload.certificates(chain)[0].public_key()
    assert workload.openssl_verify(chain, workload.secret_entry(secret, "ca.crt").decode()) == ""


def test_i7_writes_per_issue_are_counted_by_the_audit_log(installed: Installation, namespace: str) -> None:
    cluster = installed.cluster
    mark = cluster.audit_mark()
    workload.create(cluster, workload.leaf(namespace, "quiet", request=workload.csr().pem))
    workload.create(cluster, workload.leaf(namespace, "kept", secretName="kept-tls"))
    workload.wait_reason(cluster, namespace, "quiet", "Issued")
    workload.wait_reason(cluster, namespace, "kept", "Issued")
    # The bundle and what Kubernetes makes in each namespace are not of a leaf.
    names, made = {"quiet", "kept", "kept-tls"}, cluster.audit(mark)
    mine = [event for event in made if event.namespace == namespace and event.name in names]
    writes = [(e.name, e.resource, e.subresource, e.verb) for e in mine]
    assert sorted(writes) == [
        ("kept", "leafcertificaterequests", "", "create"),
        ("kept", "leafcertificaterequests", "status", "update"),
        ("kept-tls", "secrets", "", "create"),
        ("quiet", "leafcertificaterequests", "", "create"),
        ("quiet", "leafcertificaterequests", "status", "update"),
    ]


def test_deleted_secret_comes_back_with_a_new_key(installed: Installation, namespace: str) -> None:
    cluster = installed.cluster
    workload.create(cluster, workload.leaf(namespace, "api", secretName="api-tls"))
    workload.wait_reason(cluster, namespace, "api", "Issued")
    place = f"/api/v1/namespaces/{namespace}/secrets/api-tls"
    before = cluster.request("GET", place)
    cluster.request("DELETE", place)
    after = cluster.wait_for(
        lambda items: next((i for i in items if i["metadata"]["uid"] != before["metadata"]["uid"]), None),
        place,
    )
    assert after["data"]["tls.key"] != before["data"]["tls.key"]


def test_edited_secret_is_repaired_and_foreign_parts_survive(installed: Installation, namespace: str) -> None:
    cluster = installed.cluster
    workload.create(cluster, workload.leaf(namespace, "api", secretName="api-tls"))
    workload.wait_reason(cluster, namespace, "api", "Issued")
    place = f"/api/v1/namespaces/{namespace}/secrets/api-tls"
    before = cluster.request("GET", place)
    edit = {
        "metadata": {"labels": {"team": "shop"}},
        "data": {"tls.key": "bm90IGEga2V5", "extra": "aGVsbG8="},
    }
    cluster.request("PATCH", place, edit)
    broken = {"bm90IGEga2V5", before["data"]["tls.key"]}
    after = cluster.wait_for(
        lambda items: next((i for i in items if i["data"]["tls.key"] not in broken), None), place
    )
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["labels"]["team"] == "shop"
    assert after["data"]["extra"] == "aGVsbG8="


def test_secret_of_somebody_else_is_never_touched(installed: Installation, namespace: str) -> None:
    cluster = installed.cluster
    body = {"metadata": {"name": "theirs", "namespace": namespace}, "data": {"password": "c2VjcmV0"}}
    cluster.request("POST", f"/api/v1/namespaces/{namespace}/secrets", body)
    workload.create(cluster, workload.leaf(namespace, "greedy", secretName="theirs"))
    refused = workload.wait_reason(cluster, namespace, "greedy", "SecretConflict")
    assert "left untouched" in workload.ready_message(refused)
    kept = cluster.request("GET", f"/api/v1/namespaces/{namespace}/secrets/theirs")
    assert kept["data"] == {"password": "c2VjcmV0"}
    cluster.request("DELETE", f"/api/v1/namespaces/{namespace}/secrets/theirs")
    workload.wait_reason(cluster, namespace, "greedy", "Issued")


def test_missing_account_waits_and_heals(installed: Installation, namespace: str) -> None:
    cluster = installed.cluster
    body = workload.leaf(namespace, "early", account="later", request=workload.csr().pem)
    workload.create(cluster, body)
    waiting = workload.wait_reason(cluster, namespace, "early", "Pending")
    assert "create it and the certificate follows" in workload.ready_message(waiting)
    account = {"metadata": {"name": "later", "namespace": namespace}}
    cluster.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", account)
    issued = workload.wait_reason(cluster, namespace, "early", "Issued")
    assert issued["status"]["spiffeID"].endswith(f"/ns/{namespace}/sa/later")
