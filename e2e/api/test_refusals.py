"""What the API server refuses with a sentence that helps, and what it takes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from e2e.api import world
from e2e.client import path_of
from meshca.api import names
from tests.fakes.api_rows import (
    CONFIGURATION_ACCEPTED,
    CONFIGURATION_REFUSED,
    CSR,
    LEAF_ACCEPTED,
    LEAF_REFUSED,
    MANAGED,
    PRIMARY,
    REQUEST,
)

if TYPE_CHECKING:
    from e2e.cluster import Cluster
    from meshca.api.names import Resource

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
FEDERATED: JSON = {
    "clusterName": "west",
    "namespace": "meshca-fed-west",
    "requester": {"username": "system:serviceaccount:meshca-fed-west:meshca"},
}
ICR: JSON = {"clusterName": "west", "request": CSR}
ROOT: JSON = {"caConfigurationName": "default", "certificate": "PEM", "source": "Generated"}


def post(api: Cluster, resource: Resource, spec: Any, name: str = "row", *, dry: bool = True) -> Any:
    body = {
        "apiVersion": names.API_VERSION,
        "kind": resource.kind,
        "metadata": {"name": name},
        "spec": spec,
    }
    namespace = "default" if resource.namespaced else ""
    return world.create(api, resource, body, namespace=namespace, identity=world.MEDIC, dry=dry)


def missing(named: list[str], message: str) -> list[str]:
    return [part for part in named if part not in message]


@pytest.mark.parametrize(
    ("spec", "named"), [r[1:] for r in CONFIGURATION_REFUSED], ids=[r[0] for r in CONFIGURATION_REFUSED]
)
def test_a_bad_configuration_is_refused(api: Cluster, spec: JSON, named: list[str]) -> None:
    answer = post(api, names.CA_CONFIGURATION, spec)
    assert answer.status == 422
    assert missing(named, answer.body["message"]) == []


@pytest.mark.parametrize(
    "spec", [r[1] for r in CONFIGURATION_ACCEPTED], ids=[r[0] for r in CONFIGURATION_ACCEPTED]
)
def test_a_good_configuration_is_taken(api: Cluster, spec: JSON) -> None:
    answer = post(api, names.CA_CONFIGURATION, spec)
    assert answer.status == 201, answer.body["message"]


@pytest.mark.parametrize(("spec", "named"), [r[1:] for r in LEAF_REFUSED], ids=[r[0] for r in LEAF_REFUSED])
def test_a_bad_leaf_request_is_refused(api: Cluster, spec: JSON, named: list[str]) -> None:
    answer = post(api, names.LEAF, spec)
    assert answer.status == 422
    assert missing(named, answer.body["message"]) == []


@pytest.mark.parametrize("spec", [r[1] for r in LEAF_ACCEPTED], ids=[r[0] for r in LEAF_ACCEPTED])
def test_a_good_leaf_request_is_taken(api: Cluster, spec: JSON) -> None:
    answer = post(api, names.LEAF, spec)
    assert answer.status == 201, answer.body["message"]


@pytest.mark.parametrize(
    ("resource", "spec", "named"),
    [
        (names.CA_CONFIGURATION, {"leaf": {"ttl": 3600}}, ["spec.leaf.ttl", "must be of type string"]),
        (names.CA_CONFIGURATION, {"federation": {"primary": {}}}, ["bundleDigest", "Required value"]),
        (names.CA_CONFIGURATION, None, ["spec", "Required value"]),
        (names.LEAF, None, ["spec", "Required value"]),
        (names.CA_ROOT, ROOT | {"source": "Found"}, ["spec.source", "Found", "Generated", "Mirrored"]),
        (names.INTERMEDIATE, ICR | {"request": "x"}, ["spec.request", "BEGIN CERTIFICATE REQUEST"]),
        (names.INTERMEDIATE, ICR | {"clusterName": "West"}, ["spec.clusterName", "West", "DNS label"]),
        (names.FEDERATED_CLUSTER, FEDERATED | {"maxIntermediateTTL": "2h"}, ["2h", "3h"]),
        (names.FEDERATED_CLUSTER, FEDERATED | {"requester": {}}, ["requester.username", "Required value"]),
        (names.FEDERATED_CLUSTER, FEDERATED, ["spec.clusterName", "west", "metadata.name, row"]),
    ],
)
def test_other_bad_objects_are_refused(api: Cluster, resource: Resource, spec: Any, named: list[str]) -> None:
    answer = post(api, resource, spec)
    assert answer.status == 422
    assert missing(named, answer.body["message"]) == []


def test_a_configuration_name_of_64_characters_is_refused_and_63_are_taken(api: Cluster) -> None:
    answer = post(api, names.CA_CONFIGURATION, {}, "a" * 64)
    assert answer.status == 422
    assert missing(["metadata.name", "a" * 64, "63"], answer.body["message"]) == []
    assert post(api, names.CA_CONFIGURATION, {}, "a" * 63).status == 201


def test_226_a_private_key_sent_by_mistake_is_not_repeated(api: Cluster) -> None:
    key = "-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n-----END EC PRIVATE KEY-----\n"
    answer = post(api, names.LEAF, REQUEST | {"request": key + CSR})
    assert answer.status == 422
    assert "holds a private key" in answer.body["message"]
    assert "c2VjcmV0" not in str(answer.body)


def test_unknown_fields_are_refused_by_kubectl_apply(api: Cluster) -> None:
    body = {"apiVersion": names.API_VERSION, "kind": "CAConfiguration", "metadata": {"name": "unknown"}}
    text = json.dumps(body | {"spec": {"leaf": {"tll": "1h"}}})
    done = api.kubectl("apply", "--filename=-", input=text, check=False)
    assert done.returncode != 0
    assert "spec.leaf.tll" in done.stderr


LEAF = REQUEST | {"ttl": "1h", "dnsNames": ["a.b"]}
IMMUTABLE: list[tuple[str, Resource, JSON, JSON, list[str]]] = [
    ("trust-domain", names.CA_CONFIGURATION, {"trustDomain": "a"}, {"trustDomain": "b"}, ["a", "b"]),
    ("trust-domain-gone", names.CA_CONFIGURATION, {"trustDomain": "a"}, {"trustDomain": None}, ["absent"]),
    (
        "bundle-name",
        names.CA_CONFIGURATION,
        {},
        {"trustBundle": {"configMapName": "other"}},
        ["spec.trustBundle.configMapName is immutable", "meshca-trust-bundle", "other"],
    ),
    (
        "bundle-block-gone",
        names.CA_CONFIGURATION,
        {"trustBundle": {"configMapName": "mine"}},
        {"trustBundle": None},
        ["spec.trustBundle.configMapName is immutable", "mine"],
    ),
    ("request", names.LEAF, LEAF, {"request": CSR + "\n"}, ["spec.request is immutable"]),
    ("ttl", names.LEAF, LEAF, {"ttl": "2h"}, ["spec.ttl is immutable"]),
    ("ttl-gone", names.LEAF, LEAF, {"ttl": None}, ["spec.ttl is immutable"]),
    ("ttl-new", names.LEAF, MANAGED, {"ttl": "2h"}, ["spec.ttl is immutable"]),
    ("kind", names.LEAF, LEAF, {"request": None, "secretName": "x"}, ["spec.request is immutable"]),
    ("account", names.LEAF, LEAF, {"serviceAccountName": "x"}, ["spec.serviceAccountName is immutable"]),
    ("requester", names.LEAF, LEAF, {"requester": "x"}, ["spec.requester is immutable"]),
    (
        "requester-gone",
        names.LEAF,
        LEAF | {"requester": "x"},
        {"requester": None},
        ["spec.requester is immutable"],
    ),
    ("dns", names.LEAF, LEAF, {"dnsNames": ["a.b", "c.d"]}, ["spec.dnsNames is immutable"]),
    ("ip-new", names.LEAF, LEAF, {"ipAddresses": ["10.0.0.1"]}, ["spec.ipAddresses is immutable"]),
    ("key-new", names.LEAF, MANAGED, {"privateKey": {}}, ["spec.privateKey is immutable"]),
    ("renewal", names.LEAF, LEAF, {"renewal": "Automatic"}, ["spec.renewal is immutable"]),
    ("configuration", names.LEAF, LEAF, {"caConfigurationName": "x"}, ["caConfigurationName is immutable"]),
    ("icr", names.INTERMEDIATE, ICR, {"clusterName": "east"}, ["spec.clusterName is immutable"]),
    ("icr-requester", names.INTERMEDIATE, ICR, {"requester": "x"}, ["spec.requester is immutable"]),
    ("fedc", names.FEDERATED_CLUSTER, FEDERATED, {"namespace": "x"}, ["spec.namespace is immutable"]),
    ("caroot", names.CA_ROOT, ROOT, {"certificate": "other"}, ["spec.certificate is immutable"]),
]


@pytest.mark.parametrize("row", IMMUTABLE, ids=[row[0] for row in IMMUTABLE])
def test_an_immutable_field_neither_changes_nor_appears_nor_vanishes(
    api: Cluster, row: tuple[str, Resource, JSON, JSON, list[str]]
) -> None:
    label, resource, spec, change, named = row
    name = "west" if resource == names.FEDERATED_CLUSTER else f"fixed-{label}"
    assert post(api, resource, spec, name, dry=False).status == 201
    namespace = "default" if resource.namespaced else ""
    answer = world.patch(api, resource, name, {"spec": change}, namespace=namespace, identity=world.MEDIC)
    assert answer.status == 422
    assert missing(["immutable", *named], answer.body["message"]) == []


@pytest.mark.parametrize("gone", [{"spec": None}, {"spec": dict.fromkeys(LEAF)}], ids=["spec", "fields"])
def test_a_spec_cannot_be_removed_and_put_back_changed(api: Cluster, gone: JSON) -> None:
    name = f"removed-{len(str(gone))}"
    assert post(api, names.LEAF, LEAF, name, dry=False).status == 201
    assert world.patch(api, names.LEAF, name, gone, namespace="default").status == 422
    back = {"spec": LEAF | {"serviceAccountName": "other"}}
    assert world.patch(api, names.LEAF, name, back, namespace="default").status == 422
    kept = api.request("GET", path_of(names.LEAF, "default", name))
    assert kept["spec"]["serviceAccountName"] == "cart"


def test_what_is_mutable_in_a_configuration_changes(api: Cluster) -> None:
    assert post(api, names.CA_CONFIGURATION, {"trustDomain": "a"}, "mutable", dry=False).status == 201
    for change in (
        {"leaf": {"ttl": "24h"}},
        {"rotation": {"trigger": "2"}},
        {"provider": {"builtin": {"rootSecretName": "mine"}}},
        {"federation": {"primary": PRIMARY}, "provider": None, "rotation": None},
    ):
        answer = world.patch(api, names.CA_CONFIGURATION, "mutable", {"spec": change})
        assert answer.status == 200, answer.body["message"]


def test_a_generated_trust_domain_may_be_pinned_but_not_replaced(api: Cluster) -> None:
    post(api, names.CA_CONFIGURATION, {}, "pinned", dry=False)
    status = world.ready() | {"trustDomain": "x.meshca.local"}
    world.write_status(api, names.CA_CONFIGURATION, "pinned", status)
    answer = world.patch(api, names.CA_CONFIGURATION, "pinned", {"spec": {"trustDomain": "other"}})
    assert answer.status == 422
    assert missing(["spec.trustDomain", "other", "x.meshca.local"], answer.body["message"]) == []
    answer = world.patch(api, names.CA_CONFIGURATION, "pinned", {"spec": {"trustDomain": "x.meshca.local"}})
    assert answer.status == 200


def test_a_status_can_say_that_the_spec_names_another_trust_domain(api: Cluster) -> None:
    post(api, names.CA_CONFIGURATION, {"trustDomain": "new"}, "differs", dry=False)
    status = world.ready("InvalidConfiguration", "False") | {"trustDomain": "old"}
    written = world.write_status(api, names.CA_CONFIGURATION, "differs", status)
    assert written["status"]["trustDomain"] == "old"
    change = {"spec": {"leaf": {"ttl": "24h"}}}
    assert world.patch(api, names.CA_CONFIGURATION, "differs", change).status == 200
