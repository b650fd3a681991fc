"""Least privilege by trying: what the join credentials of one secondary are good for, and what not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from e2e import scenario, workload
from e2e.client import MERGE_PATCH, path_of
from e2e.federation.world import EAST, WEST, credentials
from meshca.api import names

if TYPE_CHECKING:
    from e2e.client import Client
    from e2e.federation.world import Mesh

pytestmark = [pytest.mark.cluster, pytest.mark.parametrize("mesh", ["joined"], indirect=True)]

JSON = dict[str, Any]
HOME, OTHER = f"meshca-fed-{WEST}", f"meshca-fed-{EAST}"
REQUESTS = path_of(names.INTERMEDIATE, HOME)


def secondary(mesh: Mesh) -> Client:
    """Return a client with what the join manifest of the first secondary gives."""
    return mesh.primary.cluster.client(token=credentials(mesh.members[0].manifest).token)


def request(namespace: str, cluster: str, name: str = "trial", **spec: Any) -> JSON:
    wish = workload.csr(uris=["spiffe://e2e.example"]).pem
    asked = {"clusterName": cluster, "caConfigurationName": "default", "request": wish} | spec
    asked["requester"] = spec.get("requester", f"system:serviceaccount:{namespace}:meshca")
    metadata = {"name": name, "namespace": namespace}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.INTERMEDIATE.kind,
        "metadata": metadata,
        "spec": asked,
    }


def core(plural: str, namespace: str = "", name: str = "") -> str:
    within = f"/namespaces/{namespace}" if namespace else ""
    return f"/api/v1{within}/{plural}" + (f"/{name}" if name else "")


REGISTERED = path_of(names.FEDERATED_CLUSTER)
BINDINGS = path_of(names.ROLE_BINDING, HOME)
TRIALS: list[tuple[str, str, str, JSON | None]] = [
    ("Secrets of its own namespace", "GET", core("secrets", HOME), None),
    ("Secrets of the operator", "GET", core("secrets", "meshca-system"), None),
    ("every Secret", "GET", core("secrets"), None),
    ("Secrets of another secondary", "GET", core("secrets", OTHER), None),
    ("Secrets of workloads", "GET", core("secrets", "default"), None),
    ("one Secret of the operator", "GET", core("secrets", "meshca-system", "meshca-any"), None),
    ("one Secret of its own namespace", "GET", core("secrets", HOME, "any"), None),
    ("making a Secret", "POST", core("secrets", HOME), {"metadata": {"name": "mine"}}),
    ("ConfigMaps of the operator", "GET", core("configmaps", "meshca-system"), None),
    ("ConfigMaps of its own namespace", "GET", core("configmaps", HOME), None),
    ("ConfigMaps elsewhere", "GET", core("configmaps", "kube-system"), None),
    ("every ConfigMap", "GET", core("configmaps"), None),
    ("nodes", "GET", core("nodes"), None),
    ("namespaces", "GET", core("namespaces"), None),
    ("Pods", "GET", core("pods"), None),
    ("accounts of its own namespace", "GET", core("serviceaccounts", HOME), None),
    ("what it may itself do elsewhere", "GET", path_of(names.ROLE_BINDING), None),
    ("a right of its own making", "POST", BINDINGS, {"metadata": {"name": "mine"}}),
    ("requests of another cluster", "GET", path_of(names.INTERMEDIATE, OTHER), None),
    ("one request of another cluster", "GET", path_of(names.INTERMEDIATE, OTHER, "any"), None),
    ("requests of every cluster", "GET", path_of(names.INTERMEDIATE), None),
    ("all registrations", "GET", REGISTERED, None),
    ("the registration of another", "GET", f"{REGISTERED}/{EAST}", None),
    ("the status of another", "GET", f"{REGISTERED}/{EAST}/status", None),
    ("writing the status of another", "PATCH", f"{REGISTERED}/{EAST}/status", {"status": {}}),
    ("replacing the status of another", "PUT", f"{REGISTERED}/{EAST}/status", {"status": {}}),
    ("changing its own registration", "PATCH", f"{REGISTERED}/{WEST}", {"spec": {}}),
    ("registering one more", "POST", REGISTERED, {"metadata": {"name": "more"}, "spec": {}}),
    ("deleting its own registration", "DELETE", f"{REGISTERED}/{WEST}", None),
    ("a request in another namespace", "POST", path_of(names.INTERMEDIATE, OTHER), request(OTHER, EAST)),
    ("answering its own request", "PATCH", f"{REQUESTS}/trial/status", {"status": {}}),
    ("deleting its requests", "DELETE", REQUESTS, None),
    ("changing a CA", "PATCH", path_of(names.CA_CONFIGURATION, name="default"), {"spec": {}}),
    ("making a root", "POST", path_of(names.CA_ROOT), {"metadata": {"name": "mine"}, "spec": {}}),
    ("leaves of anybody", "GET", path_of(names.LEAF), None),
    ("a token of another account", "POST", core("serviceaccounts", HOME, "default") + "/token", {"spec": {}}),
    (
        "a token of another secondary",
        "POST",
        core("serviceaccounts", OTHER, "meshca") + "/token",
        {"spec": {}},
    ),
    (
        "a token of the operator",
        "POST",
        core("serviceaccounts", "meshca-system", "meshca") + "/token",
        {"spec": {}},
    ),
]


@pytest.mark.parametrize("trial", TRIALS, ids=[trial[0] for trial in TRIALS])
def test_the_api_server_refuses(mesh: Mesh, trial: tuple[str, str, str, JSON | None]) -> None:
    _, method, path, body = trial
    kind = MERGE_PATCH if method == "PATCH" else ""
    answer = secondary(mesh).exchange(method, path, body, content_type=kind)
    assert answer.status == 403, answer.text


@pytest.mark.parametrize("cluster", [EAST, "nobody"])
def test_a_request_under_another_name_is_refused_by_the_api_server(mesh: Mesh, cluster: str) -> None:
    answer = secondary(mesh).exchange("POST", REQUESTS, request(HOME, cluster))
    assert answer.status == 403, answer.text
    assert "may not ask for signers of cluster" in answer.text


def wait_denied(mesh: Mesh, name: str) -> JSON:
    """Wait until a request is denied; it then holds no certificate."""
    where = path_of(names.INTERMEDIATE, HOME, name)
    denied = scenario.wait_other(
        mesh.primary.cluster, where, lambda item: scenario.ready(item).get("reason") == "Denied"
    )
    assert not denied["status"].get("certificateChain")
    return denied


def test_a_request_for_another_configuration_is_denied(mesh: Mesh) -> None:
    body = request(HOME, WEST, "other-ca", caConfigurationName="other")
    assert secondary(mesh).exchange("POST", REQUESTS, body).status == 201
    wait_denied(mesh, "other-ca")


def test_nobody_else_asks_in_its_name_not_even_an_administrator(mesh: Mesh) -> None:
    primary = mesh.primary.cluster
    body = request(HOME, WEST, "by-admin", requester=f"system:serviceaccount:{HOME}:meshca")
    answer = primary.exchange("POST", REQUESTS, body)
    assert (answer.status, "must be the caller" in answer.text) == (403, True), answer.text
    body = request(HOME, WEST, "by-admin", requester="admin")
    assert primary.exchange("POST", REQUESTS, body).status == 201
    wait_denied(mesh, "by-admin")


def test_what_the_primary_makes_of_a_report_is_not_for_the_secondary_to_say(mesh: Mesh) -> None:
    wish: JSON = {"status": {"conditions": []}}
    where = f"{REGISTERED}/{WEST}/status"
    answer = secondary(mesh).exchange("PATCH", where, wish, content_type=MERGE_PATCH)
    assert answer.status == 403, answer.text


def test_124_a_secondary_signs_for_nobody(mesh: Mesh) -> None:
    member = mesh.members[0]
    where = path_of(names.INTERMEDIATE, mesh.namespace)
    body = request(mesh.namespace, EAST, requester="admin")
    member.cluster.request("POST", where, body)
    denied = scenario.wait_other(
        member.cluster, f"{where}/trial", lambda item: scenario.ready(item).get("reason") == "Denied", 60
    )
    assert not denied["status"].get("certificateChain")


def test_what_it_needs_it_may(mesh: Mesh) -> None:
    client = secondary(mesh)
    for path in (
        path_of(names.CA_CONFIGURATION),
        path_of(names.CA_ROOT),
        REQUESTS,
        f"{REGISTERED}/{WEST}",
        f"{REGISTERED}/{WEST}/status",
    ):
        assert client.exchange("GET", path).status == 200, path
    token = client.exchange("POST", core("serviceaccounts", HOME, "meshca") + "/token", {"spec": {}})
    assert token.status == 201


def test_the_token_is_in_its_secret_and_nowhere_else(mesh: Mesh) -> None:
    for member in mesh.members:
        where = scenario.secret_path(names.join_secret("default"))
        secret = workload.secret_entry(member.cluster.request("GET", where), "kubeconfig").decode()
        tokens = {credentials(member.manifest).token, yaml.safe_load(secret)["users"][0]["user"]["token"]}
        site = member.site
        told: list[Any] = [site.operator.logs(replica) for replica in site.operator.replicas]
        told += [site.operator.get(replica, "/metrics")[1] for replica in site.operator.replicas]
        for cluster in (member.cluster, mesh.primary.cluster):
            for kind in (*names.OWN_RESOURCES, names.EVENT, names.CONFIG_MAP):
                told.append(cluster.request("GET", path_of(kind)))
        text = json.dumps(told)
        # The last part of a token, its signature, is what makes it one.
        assert not [token for token in tokens if token.rpartition(".")[2] in text]
