"""Who may write what the CA relies on, and delete its keys: records.meshca.dev and ca-secrets.meshca.dev."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from e2e.api import world
from e2e.api.world import create, delete, managed, patch, root
from e2e.client import path_of
from meshca.api import names
from tests.fakes.api_rows import CSR

if TYPE_CHECKING:
    from e2e.cluster import Cluster
    from meshca.api.names import Resource

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
ALICE = "alice"
"""Somebody whom RBAC lets do everything with meshca's kinds and with Secrets."""
WEST = "system:serviceaccount:default:west"
ACTIVE = {names.ANNOTATION_ACTIVATED_AT: world.NOW}
RETIRED = ACTIVE | {names.ANNOTATION_ROTATED_OUT_AT: world.NOW}
FEDERATED = {"clusterName": "west", "namespace": "default", "requester": {"username": WEST}}
OBJECTS: list[tuple[Resource, JSON]] = [
    (names.CA_CONFIGURATION, {}),
    (names.CA_ROOT, root("x")["spec"]),
    (names.LEAF, managed("x")["spec"]),
    (names.INTERMEDIATE, {"clusterName": "west", "request": CSR}),
    (names.FEDERATED_CLUSTER, FEDERATED),
]


@pytest.fixture(autouse=True, scope="module")
def _everything(api: Cluster) -> None:
    everything: list[JSON] = [
        {"apiGroups": [names.GROUP], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"]},
    ]
    api.identity(ALICE)
    for name in (ALICE, world.OPERATOR, WEST, "system:serviceaccount:default:east"):
        world.grant(api, name, "", everything)
    for name in ("west", "east"):
        world.make_account(api, "default", name)


def operator(api: Cluster) -> str:
    return api.token(world.SYSTEM, "meshca")


def made(api: Cluster, resource: Resource, name: str, spec: JSON) -> str:
    """Make an object as the break-glass group may; return its namespace."""
    namespace = "default" if resource.namespaced else ""
    if resource == names.FEDERATED_CLUSTER:
        spec = spec | {"clusterName": name}
    body = {
        "apiVersion": names.API_VERSION,
        "kind": resource.kind,
        "metadata": {"name": name},
        "spec": spec,
    }
    answer = create(api, resource, body, namespace=namespace, identity=world.MEDIC)
    assert answer.status == 201, answer.body["message"]
    return namespace


# --- status ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("resource", "spec"), OBJECTS, ids=[row[0].plural for row in OBJECTS])
def test_status_is_written_by_the_operator_and_the_break_glass_group_only(
    api: Cluster, resource: Resource, spec: JSON
) -> None:
    namespace = made(api, resource, "status", spec)

    def write(**who: str) -> Any:
        status = {"status": world.ready()}
        return patch(api, resource, "status", status, namespace=namespace, subresource="status", **who)

    refused = write(identity=ALICE)
    assert refused.status == 403
    assert (
        f"the status of {resource.plural} is written by the meshca operator only" in refused.body["message"]
    )
    assert ALICE in refused.body["message"]
    assert write(identity="admin").status == 403
    assert write(identity=world.MEDIC).status == 200
    assert write(token=operator(api)).status == 200


def test_a_status_in_a_created_or_updated_object_is_dropped(api: Cluster) -> None:
    body = managed("sneaky") | {"status": world.ready()}
    untouched = {"observedGeneration": 0}
    assert create(api, names.LEAF, body, namespace="default").body["status"] == untouched
    assert patch(api, names.LEAF, "sneaky", body, namespace="default").body["status"] == untouched


def test_a_secondary_writes_the_status_of_its_own_cluster_only(api: Cluster) -> None:
    made(api, names.FEDERATED_CLUSTER, "reports", FEDERATED)
    report = {"status": {"bundleDigest": "0" * 64, "lastSeen": world.NOW}}

    def write(account: str) -> int:
        token = api.token("default", account)
        return patch(
            api, names.FEDERATED_CLUSTER, "reports", report, subresource="status", token=token
        ).status

    assert write("west") == 200
    assert write("east") == 403


# --- CARoots --------------------------------------------------------------------------------------


def a_root(api: Cluster, name: str, annotations: dict[str, str] | None = None) -> str:
    answer = create(api, names.CA_ROOT, root(name, annotations), token=operator(api))
    assert answer.status == 201, answer.body["message"]
    return name


def test_caroots_are_made_by_the_operator_and_the_break_glass_group_only(api: Cluster) -> None:
    for identity in (ALICE, "admin"):
        answer = create(api, names.CA_ROOT, root("made"), identity=identity)
        assert answer.status == 403
        assert "CARoots are made by the meshca operator only" in answer.body["message"]
    assert create(api, names.CA_ROOT, root("made"), token=operator(api)).status == 201
    assert create(api, names.CA_ROOT, root("made-2"), identity=world.MEDIC).status == 201


NOT_HIS: list[tuple[str, JSON]] = [
    ("spec", {"spec": {"source": "Mirrored"}}),
    ("secret", {"spec": {"keySecretName": "mine"}}),
    (
        "annotation-changed",
        {"metadata": {"annotations": {names.ANNOTATION_ACTIVATED_AT: "2031-01-01T00:00:00Z"}}},
    ),
    ("annotation-added", {"metadata": {"annotations": {names.ANNOTATION_ROTATED_OUT_AT: world.NOW}}}),
    ("annotation-removed", {"metadata": {"annotations": {names.ANNOTATION_ACTIVATED_AT: None}}}),
    ("annotations-removed", {"metadata": {"annotations": None}}),
    ("finalizer-removed", {"metadata": {"finalizers": None}}),
    ("finalizer-replaced", {"metadata": {"finalizers": ["example.org/x"]}}),
]
HIS: list[tuple[str, JSON]] = [
    ("prune-now-removed", {"metadata": {"annotations": {names.ANNOTATION_PRUNE_NOW: None}}}),
    ("foreign-annotation", {"metadata": {"annotations": {"example.org/x": "y"}}}),
    ("label", {"metadata": {"labels": {"x": "y"}}}),
    ("foreign-finalizer", {"metadata": {"finalizers": [names.FINALIZER, "example.org/x"]}}),
]


@pytest.mark.parametrize(("label", "change"), NOT_HIS, ids=[row[0] for row in NOT_HIS])
def test_somebody_else_does_not_change_what_a_caroot_records(api: Cluster, label: str, change: JSON) -> None:
    name = a_root(api, f"not-his-{label}", ACTIVE)
    assert patch(api, names.CA_ROOT, name, change, identity=ALICE).status == 403
    assert patch(api, names.CA_ROOT, name, change, token=operator(api)).status == 200


@pytest.mark.parametrize(("label", "change"), HIS, ids=[row[0] for row in HIS])
def test_the_rest_of_a_caroot_is_left_to_rbac(api: Cluster, label: str, change: JSON) -> None:
    annotations = ACTIVE | {names.ANNOTATION_PRUNE_NOW: "1"}
    name = a_root(api, f"his-{label}", annotations)
    answer = patch(api, names.CA_ROOT, name, change, identity=ALICE)
    assert answer.status == 200, answer.body["message"]


def test_an_active_caroot_is_deleted_by_nobody_else(api: Cluster) -> None:
    name = a_root(api, "active", ACTIVE)
    for identity in (ALICE, "admin"):
        answer = delete(api, names.CA_ROOT, name, identity=identity)
        assert answer.status == 403
        assert "is active" in answer.body["message"]
    everything = api.client(ALICE).exchange("DELETE", path_of(names.CA_ROOT))
    assert everything.status == 403
    assert "deletionTimestamp" not in api.request("GET", path_of(names.CA_ROOT, name=name))["metadata"]
    assert delete(api, names.CA_ROOT, name, token=operator(api)).status == 200


def test_an_active_caroot_is_pruned_for_nobody_else(api: Cluster) -> None:
    name = a_root(api, "asked", ACTIVE)
    wish = {"metadata": {"annotations": {names.ANNOTATION_PRUNE_NOW: "0" * 64}}}
    for identity in (ALICE, "admin"):
        answer = patch(api, names.CA_ROOT, name, wish, identity=identity)
        assert answer.status == 403
        assert "is active" in answer.body["message"]
    assert patch(api, names.CA_ROOT, name, wish, token=operator(api)).status == 200


@pytest.mark.parametrize(("label", "annotations"), [("fresh", {}), ("retired", RETIRED)])
def test_prune_now_of_another_caroot_is_left_to_rbac(
    api: Cluster, label: str, annotations: dict[str, str]
) -> None:
    name = a_root(api, f"asked-{label}", annotations)
    wish = {"metadata": {"annotations": {names.ANNOTATION_PRUNE_NOW: "0" * 64}}}
    assert patch(api, names.CA_ROOT, name, wish, identity=ALICE).status == 200


@pytest.mark.parametrize(("label", "annotations"), [("fresh", {}), ("retired", RETIRED)])
def test_deleting_another_caroot_is_a_request_that_rbac_allows(
    api: Cluster, label: str, annotations: dict[str, str]
) -> None:
    name = a_root(api, f"deleted-{label}", annotations)
    assert delete(api, names.CA_ROOT, name, identity=ALICE).status == 200
    # The finalizer holds it: whether it goes is for the operator to decide.
    found = api.request("GET", path_of(names.CA_ROOT, name=name))
    assert found["metadata"]["deletionTimestamp"]
    released = {"metadata": {"finalizers": None}}
    assert patch(api, names.CA_ROOT, name, released, token=operator(api)).status == 200
    api.wait_for(lambda roots: not roots, path_of(names.CA_ROOT, name=name))


@pytest.mark.parametrize("policy", ["Foreground", "Orphan"])
def test_the_garbage_collector_finishes_the_deletion_of_a_caroot(api: Cluster, policy: str) -> None:
    name = a_root(api, f"collected-{policy.lower()}", RETIRED)
    assert delete(api, names.CA_ROOT, name, identity=ALICE, policy=policy).status == 200
    path = path_of(names.CA_ROOT, name=name)
    ours = [names.FINALIZER]
    api.wait_for(lambda roots: roots and roots[0]["metadata"]["finalizers"] == ours, path, 120)
    assert (
        patch(api, names.CA_ROOT, name, {"metadata": {"finalizers": None}}, token=operator(api)).status == 200
    )
    api.wait_for(lambda roots: not roots, path, 120)


# --- keys -----------------------------------------------------------------------------------------


def a_key(api: Cluster, name: str, namespace: str = world.SYSTEM, role: str = names.KEY_ROLE_ROOT) -> str:
    labels = {names.LABEL_KEY_ROLE: role} if role else {}
    body = {"metadata": {"name": name, "labels": labels}, "stringData": {"tls.key": "x"}}
    api.request("POST", path_of(names.SECRET, namespace), body)
    return name


@pytest.mark.parametrize("role", [names.KEY_ROLE_ROOT, names.KEY_ROLE_SIGNER])
def test_a_ca_key_is_deleted_by_nobody_else(api: Cluster, role: str) -> None:
    name = a_key(api, f"key-{role}", role=role)
    for identity in (ALICE, "admin"):
        answer = delete(api, names.SECRET, name, namespace=world.SYSTEM, identity=identity)
        assert answer.status == 403
        assert "holds a key of the CA" in answer.body["message"]
    everything = api.client(ALICE).exchange("DELETE", path_of(names.SECRET, world.SYSTEM))
    assert everything.status == 403
    assert delete(api, names.SECRET, name, namespace=world.SYSTEM, token=operator(api)).status == 200


def test_the_break_glass_group_deletes_a_ca_key(api: Cluster) -> None:
    name = a_key(api, "broken-glass")
    assert delete(api, names.SECRET, name, namespace=world.SYSTEM, identity=world.MEDIC).status == 200


@pytest.mark.parametrize("labels", [None, {names.LABEL_KEY_ROLE: None}, {names.LABEL_KEY_ROLE: "other"}])
def test_the_label_that_protects_a_key_stays(
    api: Cluster, request: pytest.FixtureRequest, labels: JSON | None
) -> None:
    name = a_key(api, f"label-{request.node.callspec.id.lower()}")
    change = {"metadata": {"labels": labels}}
    answer = patch(api, names.SECRET, name, change, namespace=world.SYSTEM, identity=ALICE)
    assert answer.status == 403
    assert names.LABEL_KEY_ROLE in answer.body["message"]
    assert patch(api, names.SECRET, name, change, namespace=world.SYSTEM, token=operator(api)).status == 200


def test_nobody_passes_a_secret_off_as_a_key_of_the_ca(api: Cluster) -> None:
    name = a_key(api, "passed-off", role="")
    change = {"metadata": {"labels": {names.LABEL_KEY_ROLE: names.KEY_ROLE_ROOT}}}
    assert patch(api, names.SECRET, name, change, namespace=world.SYSTEM, identity=ALICE).status == 403


def test_other_metadata_of_a_key_and_other_secrets_are_left_to_rbac(api: Cluster) -> None:
    name = a_key(api, "annotated")
    change = {"metadata": {"annotations": {"a": "b"}, "labels": {"c": "d"}}}
    assert patch(api, names.SECRET, name, change, namespace=world.SYSTEM, identity=ALICE).status == 200
    plain = a_key(api, "plain", role="")
    assert delete(api, names.SECRET, plain, namespace=world.SYSTEM, identity=ALICE).status == 200
    elsewhere = a_key(api, "elsewhere", "default")
    assert delete(api, names.SECRET, elsewhere, namespace="default", identity=ALICE).status == 200


# --- deletion goes on working ---------------------------------------------------------------------


def wait_collector(api: Cluster, resource: Resource, place: str, body: JSON) -> None:
    """Wait until the garbage collector knows every object of a kind that was made before now.

    It orphans only dependents that it knows, and takes the others for garbage once their owner is gone. So
    one that is garbage is made, and those before it are known when it has been collected.
    """
    nobody = {"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": str(uuid.uuid4())}
    probe = body | {"metadata": {"name": "probe", "ownerReferences": [nobody]}}
    assert create(api, resource, probe, namespace=place).status == 201
    # It learns of new kinds every 30 seconds.
    api.wait_for(lambda found: not found, path_of(resource, place, "probe"), 120)


@pytest.mark.parametrize("policy", ["Background", "Foreground", "Orphan"])
def test_a_leaf_request_goes_with_its_owner_as_the_policy_says(api: Cluster, place: str, policy: str) -> None:
    owner = api.request("POST", path_of(names.CONFIG_MAP, place), {"metadata": {"name": "owner"}})
    reference = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "owner",
        "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": True,
    }
    body = managed("owned", "cart")
    body["metadata"]["ownerReferences"] = [reference]
    assert create(api, names.LEAF, body, namespace=place).status == 201
    wait_collector(api, names.LEAF, place, managed("probe", "cart"))
    assert delete(api, names.CONFIG_MAP, "owner", namespace=place, policy=policy).status == 200
    path = path_of(names.LEAF, place, "owned")
    if policy == "Orphan":
        api.wait_for(lambda leaves: not leaves[0]["metadata"].get("ownerReferences"), path)
    else:
        api.wait_for(lambda leaves: not leaves, path)


@pytest.mark.parametrize("policy", ["Foreground", "Orphan"])
def test_a_leaf_request_that_owns_a_secret_is_deleted_as_the_policy_says(
    api: Cluster, place: str, policy: str
) -> None:
    leaf = create(api, names.LEAF, managed("owning", "cart"), namespace=place).body
    reference = {
        "apiVersion": names.API_VERSION,
        "kind": names.LEAF.kind,
        "name": "owning",
        "uid": leaf["metadata"]["uid"],
        "blockOwnerDeletion": True,
        "controller": True,
    }
    secret = {"metadata": {"name": "owning-tls", "ownerReferences": [reference]}}
    api.request("POST", path_of(names.SECRET, place), secret)
    wait_collector(api, names.SECRET, place, {})
    assert delete(api, names.LEAF, "owning", namespace=place, policy=policy).status == 200
    api.wait_for(lambda leaves: not leaves, path_of(names.LEAF, place, "owning"))
    path = path_of(names.SECRET, place, "owning-tls")
    if policy == "Orphan":
        api.wait_for(lambda secrets: not secrets[0]["metadata"].get("ownerReferences"), path)
    else:
        api.wait_for(lambda secrets: not secrets, path)


def test_a_namespace_with_leaf_requests_can_be_deleted(api: Cluster, place: str) -> None:
    assert create(api, names.LEAF, managed("last", "cart"), namespace=place).status == 201
    api.request("DELETE", path_of(names.NAMESPACE, name=place))
    api.wait_for(lambda found: not found, path_of(names.NAMESPACE, name=place))


def test_the_operators_namespace_can_be_deleted_with_its_keys(api: Cluster) -> None:
    a_key(api, "doomed")
    api.request("DELETE", path_of(names.NAMESPACE, name=world.SYSTEM))
    api.wait_for(lambda found: not found, path_of(names.NAMESPACE, name=world.SYSTEM))
    world.make_namespace(api, world.SYSTEM)
    world.make_account(api, world.SYSTEM, "meshca")
