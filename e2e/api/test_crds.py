"""The kinds as kubectl shows them: defaults, columns, short names, waiting, selecting."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from e2e.api import world
from e2e.client import path_of
from meshca.api import admission, names
from meshca.api.crd import SHAPES, custom_resource_definition
from meshca.api.v1alpha1 import KINDS, CAConfiguration, LeafCertificateRequest
from tests.fakes.api_rows import CSR, SECONDARY

if TYPE_CHECKING:
    from e2e.cluster import Cluster
    from meshca.api.names import Resource

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
SPECS: dict[str, JSON] = {
    "CAConfiguration": {},
    "CARoot": world.root("x")["spec"],
    "LeafCertificateRequest": world.managed("x")["spec"],
    "IntermediateCertificateRequest": {"clusterName": "west", "request": CSR},
    "FederatedCluster": {"clusterName": "west", "namespace": "default", "requester": {"username": "x"}},
}


def made(api: Cluster, resource: Resource, name: str, spec: JSON | None = None) -> JSON:
    spec = SPECS[resource.kind] if spec is None else spec
    if resource == names.FEDERATED_CLUSTER:
        spec = spec | {"clusterName": name}
    body = {
        "apiVersion": names.API_VERSION,
        "kind": resource.kind,
        "metadata": {"name": name},
        "spec": spec,
    }
    namespace = "default" if resource.namespaced else ""
    answer = world.create(api, resource, body, namespace=namespace, identity=world.MEDIC)
    assert answer.status == 201, answer.body["message"]
    return answer.body


def get(api: Cluster, *arguments: str) -> list[list[str]]:
    """Return the table that kubectl prints, split at runs of two blanks."""
    text = api.kubectl("get", *arguments).stdout
    return [[cell.strip() for cell in line.split("   ") if cell.strip()] for line in text.splitlines()]


def test_001_the_api_server_fills_in_the_defaults_of_a_configuration(api: Cluster) -> None:
    stored = made(api, names.CA_CONFIGURATION, "defaults")["spec"]
    assert stored == {
        "clusterName": "default",
        "privateKey": {"algorithm": "ECDSA"},
        "intermediate": {"ttl": "8760h"},
        "leaf": {"ttl": "72h"},
        "identity": {"pathTemplate": "/ns/{namespace}/sa/{serviceAccount}"},
        "limits": {"csrMaxPerSecond": 0, "csrMaxConcurrent": 0},
        "trustBundle": {"configMapName": "meshca-trust-bundle", "clusterTrustBundle": True},
    }
    assert (
        CAConfiguration.from_object({"spec": stored}).spec == CAConfiguration.from_object({"spec": {}}).spec
    )


def test_a_block_that_is_given_in_part_gets_the_rest(api: Cluster) -> None:
    spec = {"leaf": {"maxTTL": "100h"}, "identity": {}, "trustBundle": {"clusterTrustBundle": False}}
    stored = made(api, names.CA_CONFIGURATION, "partly", spec)["spec"]
    assert stored["leaf"] == {"ttl": "72h", "maxTTL": "100h"}
    assert stored["identity"]["pathTemplate"] == "/ns/{namespace}/sa/{serviceAccount}"
    assert stored["trustBundle"]["configMapName"] == "meshca-trust-bundle"


def test_a_secondary_is_given_neither_provider_nor_root_nor_rotation(api: Cluster) -> None:
    stored = made(api, names.CA_CONFIGURATION, "secondary", SECONDARY)["spec"]
    assert not {"provider", "root", "rotation"} & stored.keys()
    assert stored["federation"]["primary"]["caConfigurationName"] == "default"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_waited_for_and_has_a_short_name(api: Cluster, kind: type[Any]) -> None:
    resource: Resource = kind.resource
    made(api, resource, "waited")
    short = SHAPES[kind].short
    place = ["--namespace", "default"] if resource.namespaced else []
    not_yet = api.kubectl(
        "wait", "--for=condition=Ready", f"{short}/waited", "--timeout=0", *place, check=False
    )
    assert not_yet.returncode != 0
    namespace = "default" if resource.namespaced else ""
    world.write_status(api, resource, "waited", world.ready(), namespace)
    done = api.kubectl("wait", "--for=condition=Ready", f"{short}/waited", "--timeout=10s", *place)
    assert "condition met" in done.stdout


def test_a_configuration_says_whether_it_is_fine_and_until_when(api: Cluster) -> None:
    made(api, names.CA_CONFIGURATION, "shown")
    status = world.ready("Initialised") | {
        "trustDomain": "mesh.example",
        "activeRoot": "shown-0123456789",
        "bundle": {"digest": "d" * 64, "sequence": 3},
        "signer": {"notAfter": "2031-01-01T00:00:00Z"},
        "rotation": {"phase": "Reissue", "percent": 40},
    }
    world.write_status(api, names.CA_CONFIGURATION, "shown", status)
    header, row = get(api, "cac", "shown")
    assert header == ["NAME", "READY", "ROOT", "SIGNER EXPIRES", "PHASE", "PERCENT", "AGE"]
    assert row[:6] == ["shown", "True", "shown-0123456789", "2031-01-01T00:00:00Z", "Reissue", "40"]
    header, row = get(api, "cac", "shown", "--output=wide")
    assert header[7:] == ["REASON", "TRUST DOMAIN", "SEQUENCE", "BUNDLE"]
    assert row[7:] == ["Initialised", "mesh.example", "3", "d" * 64]


def test_a_leaf_says_whether_it_is_fine_and_until_when(api: Cluster, place: str) -> None:
    world.create(api, names.LEAF, world.managed("shown", "cart"), namespace=place)
    status = world.ready() | {
        "state": "Issued",
        "spiffeID": "spiffe://mesh.example/ns/shop/sa/cart",
        "serialNumber": "0a",
        "notAfter": "2031-01-01T00:00:00Z",
        "renewAt": "2030-06-01T00:00:00Z",
        "root": "default-0123456789",
    }
    world.write_status(api, names.LEAF, "shown", status, place)
    header, row = get(api, "lcr", "--namespace", place)
    assert header == ["NAME", "READY", "REASON", "SPIFFE ID", "EXPIRES", "AGE"]
    assert row[1:5] == ["True", "Issued", "spiffe://mesh.example/ns/shop/sa/cart", "2031-01-01T00:00:00Z"]
    header, row = get(api, "lcr", "--namespace", place, "--output=wide")
    assert header[6:] == ["STATE", "SERIAL", "RENEW AT", "ROOT", "SERVICE ACCOUNT"]
    assert row[6:] == ["Issued", "0a", "2030-06-01T00:00:00Z", "default-0123456789", "cart"]


def test_a_root_says_where_it_stands(api: Cluster) -> None:
    made(api, names.CA_ROOT, "shown")
    status = world.ready() | {"state": "Retiring", "notAfter": "2040-01-01T00:00:00Z", "leaves": 7}
    status["prunableAfter"] = "2031-01-01T00:00:00Z"
    world.write_status(api, names.CA_ROOT, "shown", status)
    header, row = get(api, "caroot", "shown")
    shown = ["NAME", "CONFIGURATION", "STATE", "SOURCE", "EXPIRES", "LEAVES", "PRUNABLE AFTER", "AGE"]
    assert header == shown
    assert row[1:7] == [
        "default",
        "Retiring",
        "Generated",
        "2040-01-01T00:00:00Z",
        "7",
        "2031-01-01T00:00:00Z",
    ]


def test_no_column_of_a_future_time_is_invalid(api: Cluster) -> None:
    assert "<invalid>" not in api.kubectl("get", "meshca", "--all-namespaces", "--output=wide").stdout


def test_the_category_lists_every_kind(api: Cluster) -> None:
    for kind in KINDS:
        made(api, kind.resource, "listed")
    listed = api.kubectl("get", "meshca", "--all-namespaces", "--output=name").stdout
    for kind in KINDS:
        assert f"{kind.resource.kind.lower()}.meshca.dev/listed" in listed


def test_leaves_are_selected_by_their_configuration(api: Cluster, place: str) -> None:
    for name in ("one", "two"):
        body = world.managed(f"of-{name}", "cart", caConfigurationName=name)
        assert world.create(api, names.LEAF, body, namespace=place).status == 201
    query = {"fieldSelector": "spec.caConfigurationName=two"}
    found = api.request("GET", path_of(names.LEAF, place), query=query)["items"]
    assert [item["metadata"]["name"] for item in found] == ["of-two"]


def test_status_writes_leave_the_spec_and_its_generation_alone(api: Cluster) -> None:
    before = made(api, names.CA_CONFIGURATION, "generation")
    changed = {"spec": {"leaf": {"ttl": "1h"}}, "status": world.ready()}
    path = path_of(names.CA_CONFIGURATION, name="generation", subresource="status")
    after = api.request("PATCH", path, changed, identity=world.MEDIC)
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"] == 1


def test_conditions_are_merged_by_type(api: Cluster) -> None:
    made(api, names.CA_CONFIGURATION, "merged")
    for manager, kind in (("one", "Ready"), ("two", "Degraded")):
        condition = world.ready()["conditions"][0] | {"type": kind}
        body = {
            "apiVersion": names.API_VERSION,
            "kind": "CAConfiguration",
            "metadata": {"name": "merged"},
            "status": {"conditions": [condition]},
        }
        path = path_of(names.CA_CONFIGURATION, name="merged", subresource="status")
        content = "application/apply-patch+yaml"
        query = {"fieldManager": manager}
        stored = api.request("PATCH", path, body, identity=world.MEDIC, query=query, content_type=content)
    assert [c["type"] for c in stored["status"]["conditions"]] == ["Ready", "Degraded"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_models_write_as_status_is_stored_unchanged(api: Cluster, kind: type[Any]) -> None:
    made(api, kind.resource, "stored")
    status = kind.model_fields["status"].annotation.read(FULL_STATUS)
    namespace = "default" if kind.resource.namespaced else ""
    stored = world.write_status(api, kind.resource, "stored", status.to_dict(), namespace)
    assert stored["status"] == status.to_dict()
    assert type(status).read(stored["status"]) == status


_TIME = "2020-01-01T00:00:00Z"
FULL_STATUS: JSON = world.ready() | {
    "trustDomain": "mesh.example",
    "activeRoot": "default-0123456789",
    "bundle": {"digest": "d", "sequence": 2, "roots": ["a", "b"], "targets": {"total": 2, "behind": ["x"]}},
    "signer": {"subjectKeyID": "ab", "secretName": "s", "certificateChain": "PEM", "notAfter": _TIME},
    "rotation": {"phase": "Publish", "from": "a", "to": "b", "startedAt": _TIME, "stragglers": ["n/x"]},
    "state": "Active",
    "fingerprint": "f",
    "crossCertificates": ["PEM"],
    "activatedAt": _TIME,
    "prunableAfter": _TIME,
    "leaves": 3,
    "certificateChain": "PEM",
    "serialNumber": "0a",
    "spiffeID": "spiffe://mesh.example/x",
    "notBefore": _TIME,
    "notAfter": _TIME,
    "renewAt": _TIME,
    "root": "default-0123456789",
    "roots": ["a"],
    "lastSeen": _TIME,
}


def test_kubectl_explains_fields(api: Cluster) -> None:
    text = api.kubectl("explain", "lcr.spec.ttl").stdout
    assert "at most leaf.maxTTL" in text


@pytest.mark.parametrize("kind", KINDS)
def test_the_definition_that_was_applied_is_the_one_that_is_stored(api: Cluster, kind: type[Any]) -> None:
    definition = custom_resource_definition(kind)
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{definition['metadata']['name']}"
    stored = api.request("GET", path)["spec"]
    assert stored["versions"] == definition["spec"]["versions"]


# --- policies as the API server gives them back -----------------------------------------------------


def read_back(api: Cluster, name: str) -> tuple[JSON, JSON]:
    policies = f"{ADMISSION}/validatingadmissionpolicies/{name}"
    return api.request("GET", policies), api.request("GET", policies.replace("policies", "policybindings"))


@pytest.mark.parametrize("name", admission.VALIDATING)
def test_a_policy_is_read_back_as_it_was_shipped(api: Cluster, name: str) -> None:
    policy, binding = read_back(api, name)
    assert policy["spec"] == admission.validating_policy(name, world.PARAMETERS)["spec"]
    assert binding["spec"] == admission.validating_binding(name)["spec"]
    assert admission.as_shipped(policy, binding, world.PARAMETERS)


def test_the_mutating_policy_is_read_back_as_it_was_shipped(api: Cluster) -> None:
    if not world.mutates(api):
        pytest.skip("this API server has no MutatingAdmissionPolicy v1")
    path = f"{ADMISSION}/mutatingadmissionpolicies/{admission.REQUESTER_DEFAULTS}"
    assert api.request("GET", path)["spec"] == admission.mutating_policy()["spec"]
    bindings = path.replace("policies", "policybindings")
    assert api.request("GET", bindings)["spec"] == admission.mutating_binding()["spec"]


@pytest.mark.parametrize(
    "change",
    [
        {"failurePolicy": "Ignore"},
        {"matchConstraints": {"namespaceSelector": {"matchLabels": {"a": "b"}}}},
        {"matchConditions": [{"name": "never", "expression": "false"}]},
        {"validations": [{"expression": "true"}]},
    ],
)
def test_a_weakened_policy_is_not_as_shipped(api: Cluster, change: JSON) -> None:
    path = f"{ADMISSION}/validatingadmissionpolicies/{admission.REQUESTER}"
    weakened = api.request("PATCH", path, {"spec": change}, query={"dryRun": "All"})
    _, binding = read_back(api, admission.REQUESTER)
    assert not admission.as_shipped(weakened, binding, world.PARAMETERS)


def test_a_binding_that_only_audits_is_not_as_shipped(api: Cluster) -> None:
    policy, _ = read_back(api, admission.REQUESTER)
    path = f"{ADMISSION}/validatingadmissionpolicybindings/{admission.REQUESTER}"
    audit = {"spec": {"validationActions": ["Audit"]}}
    weakened = api.request("PATCH", path, audit, query={"dryRun": "All"})
    assert not admission.as_shipped(policy, weakened, world.PARAMETERS)


# --- examples ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted((world.ROOT / "examples").glob("*.yaml")), ids=lambda file: file.name)
def test_every_example_can_be_applied(api: Cluster, file: Any) -> None:
    api.kubectl("apply", "--filename", str(world.ROOT / "examples" / "01-namespace.yaml"))
    api.kubectl("apply", "--server-side", "--validate=strict", "--filename", str(file))
    for wanted in yaml.safe_load_all(file.read_text()):
        place = ["--namespace", wanted["metadata"].get("namespace", "default")]
        found = api.kubectl("get", wanted["kind"], wanted["metadata"]["name"], "--output=json", *place)
        spec = json.loads(found.stdout).get("spec", {})
        if wanted["kind"] == "LeafCertificateRequest":
            assert LeafCertificateRequest.from_object(wanted).spec.as_written().items() <= spec.items()
