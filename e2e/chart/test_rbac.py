"""Who may do what once the chart is installed, asked of a real API server.

The tables are closed: an API server lists every right that a caller has, and what is not in the table
must not be in that list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trustme
import yaml

from e2e import installation
from e2e.access import RBAC, Right, User, bind, held, may, rights, settled, wait_for_aggregation
from e2e.chart import render
from e2e.client import APPLY_PATCH
from meshca.api import admission
from meshca.api.policyparts import AdmissionParameters
from meshca.server import smoke

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from e2e.client import Client
    from e2e.cluster import Cluster

    Upgrade = Callable[..., Cluster]

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
HOME = render.NAMESPACE
SHOP, BANK = "shop", "bank"
OWN = "meshca.dev"
ADMISSION = "admissionregistration.k8s.io"
READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch", "delete")
EVERY = (*READ, *WRITE, "deletecollection")
LEAFS = "leafcertificaterequests"
KINDS = ("caconfigurations", "caroots", LEAFS, "intermediatecertificaterequests", "federatedclusters")
POLICIES = admission.VALIDATING

# What the operator may do beyond what every ServiceAccount may.
EVERYWHERE = (
    {right for kind in KINDS for right in rights(OWN, kind, READ)}
    | {right for kind in KINDS for right in rights(OWN, f"{kind}/status", ("update", "patch"))}
    | rights(OWN, "caroots", WRITE)
    | rights(OWN, LEAFS, ("delete",))
    | rights(OWN, "intermediatecertificaterequests", ("delete",))
    | rights("", "namespaces", READ)
    | rights("", "serviceaccounts", READ)
    | rights(ADMISSION, "validatingadmissionpolicies", READ, *POLICIES)
    | rights(ADMISSION, "validatingadmissionpolicybindings", READ, *POLICIES)
    | rights("", "configmaps", (*READ, *WRITE), "meshca-trust-bundle")
    | rights("certificates.k8s.io", "clustertrustbundles", READ + WRITE)
    | rights("certificates.k8s.io", "signers", ("attest",), "meshca.dev/*")
    | rights("events.k8s.io", "events", ("create", "patch"))
)
AT_HOME = (
    rights("", "secrets", READ + WRITE)
    | rights("", "configmaps", READ + WRITE)
    | rights("coordination.k8s.io", "leases", ("get", "create", "update", "patch"), "meshca")
)
MANAGED_KEYS = rights("", "secrets", (*READ, "create", "update", "patch"))
REQUESTER = rights(OWN, LEAFS, ("create", "get", "watch", "delete"))


def install(cluster: Cluster, *values: str) -> None:
    command = ("upgrade", "--install", render.RELEASE, str(render.CHART), "--reset-values")
    sets = [f"--set={value}" for value in values]
    cluster.helm(*command, "--namespace", HOME, *sets)


@pytest.fixture(scope="module")
def released(blank: Cluster) -> Iterator[Cluster]:
    install(blank)
    installation.wait_served(blank)
    for role in ("view", "edit", "admin"):
        blank.apply(bind(role, SHOP, f"{role}-of-shop"))
    yield blank
    blank.helm("uninstall", render.RELEASE, "--namespace", HOME, "--wait")


@pytest.fixture
def upgrade(released: Cluster) -> Iterator[Upgrade]:
    """Return a function that sets values for this test; the defaults come back after it."""
    given: list[str] = []

    def to(*values: str) -> Cluster:
        if values:
            given.extend(values)
            install(released, *values)
        return released

    yield to
    if given:
        install(released)


@pytest.fixture(scope="module")
def operator(released: Cluster) -> Client:
    return released.client(token=released.token(HOME, "meshca"))


def workload(cluster: Cluster, namespace: str) -> Client:
    """Return a client of a ServiceAccount that nobody gave anything."""
    return cluster.client(token=cluster.token(namespace, "default"))


# --- the tables -----------------------------------------------------------------------------------

# Values, and in each of some namespaces: what the operator may do there beyond EVERYWHERE, and what a
# workload of SHOP may do there with our kinds.
VALUES: dict[str, tuple[tuple[str, ...], dict[str, tuple[set[Right], set[Right]]]]] = {
    "default": ((), {HOME: (AT_HOME, set()), SHOP: (set(), set()), "kube-system": (set(), set())}),
    "narrow": (
        ("managedKeys.namespaces={shop}", "requester.namespaces={shop}"),
        {HOME: (AT_HOME, set()), SHOP: (MANAGED_KEYS, REQUESTER), BANK: (set(), set())},
    ),
    "wide": (
        ("managedKeys.namespaces={*}", "requester.bindToServiceAccounts=true"),
        {SHOP: (MANAGED_KEYS, REQUESTER), "kube-system": (MANAGED_KEYS, REQUESTER)},
    ),
}


@pytest.mark.parametrize("case", VALUES)
def test_the_operator_may_do_what_the_table_says_and_nothing_else(
    case: str, operator: Client, upgrade: Upgrade
) -> None:
    values, places = VALUES[case]
    cluster = upgrade(*values)
    bystander = workload(cluster, HOME)
    for place, (more, _) in places.items():

        def differences(place: str = place, more: set[Right] = more) -> JSON:
            found, anybody = held(operator, place), held(bystander, place)
            too_many, too_few = found - anybody - EVERYWHERE - more, (EVERYWHERE | more) - found
            return {"more than it should": too_many, "less than it must": too_few}

        assert not any(settled(differences).values()), (place, differences())


@pytest.mark.parametrize("case", VALUES)
def test_a_workload_may_ask_for_certificates_only_where_it_is_switched_on(
    case: str, upgrade: Upgrade
) -> None:
    values, places = VALUES[case]
    client = workload(upgrade(*values), SHOP)
    for place, (_, wanted) in places.items():

        def differences(place: str = place, wanted: set[Right] = wanted) -> JSON:
            return {"rights": {right for right in held(client, place) if right.group == OWN} ^ wanted}

        assert not any(settled(differences).values()), (place, differences())


PEOPLE = [
    ("view-of-shop", SHOP, rights(OWN, LEAFS, READ)),
    ("edit-of-shop", SHOP, rights(OWN, LEAFS, EVERY)),
    ("admin-of-shop", SHOP, rights(OWN, LEAFS, EVERY)),
    ("admin-of-shop", BANK, set()),
    ("nobody", SHOP, set()),
]


@pytest.mark.parametrize(("user", "place", "wanted"), PEOPLE, ids=[f"{r[0]} in {r[1]}" for r in PEOPLE])
def test_built_in_roles_reach_leafs_of_their_namespace_and_no_ca_kind(
    user: str, place: str, wanted: set[Right], released: Cluster
) -> None:
    for role in ("view", "edit", "admin"):
        wait_for_aggregation(released, role)
    released.identity(user)

    def differences() -> JSON:
        found = {right for right in held(released.client(user), place) if right.group == OWN}
        return {"rights": found ^ wanted}

    assert settled(differences) == {"rights": set()}


def test_roles_for_people_can_be_kept_out_of_the_built_in_ones(
    upgrade: Upgrade,
) -> None:
    cluster = upgrade("rbac.aggregate=false")
    path = f"/apis/{RBAC}/v1/clusterroles/admin"
    cluster.wait_for(lambda f: not any(OWN in r["apiGroups"] for r in f[0]["rules"]), path)


def test_the_policies_are_what_the_operator_compares_them_with(upgrade: Upgrade) -> None:
    cluster = upgrade("breakGlassGroup=restorers")
    trusted = AdmissionParameters(User.account(HOME, "meshca").name, HOME, "restorers")
    for name in admission.VALIDATING:
        policy = cluster.request("GET", f"/apis/{ADMISSION}/v1/validatingadmissionpolicies/{name}")
        binding = cluster.request("GET", f"/apis/{ADMISSION}/v1/validatingadmissionpolicybindings/{name}")
        assert admission.as_shipped(policy, binding, trusted), name


def test_what_helm_test_runs_as_may_list_one_kind_and_that_is_enough(
    released: Cluster, default: list[JSON], tmp_path: Path
) -> None:
    hooks = [o for o in default if "helm.sh/hook" in o["metadata"].get("annotations", {})]
    mine = [o for o in hooks if o["kind"] != "Pod"]
    released.apply(mine)
    try:
        token = released.token(HOME, "meshca-test")
        (tmp_path / "token").write_text(token)
        (tmp_path / "ca.crt").write_bytes(released.ca_file.read_bytes())
        account, bystander = released.client(token=token), workload(released, HOME)
        wanted = rights(OWN, "caconfigurations", ("list",))

        def differences() -> JSON:
            return {"rights": (held(account, HOME) - held(bystander, HOME)) ^ wanted}

        assert not any(settled(differences).values()), differences()
        assert "API server answers: 0 caconfigurations" in smoke.check_api(released.server, tmp_path)
    finally:
        released.kubectl("delete", "--filename=-", input=yaml.safe_dump_all(mine))


# --- other clusters -------------------------------------------------------------------------------

PRIMARY = render.CHART.parents[1] / "examples" / "federation" / "primary.yaml"
WEST = "meshca-fed-west"
SECONDARY = (
    rights(OWN, "caconfigurations", READ)
    | rights(OWN, "caroots", READ)
    | rights(OWN, "federatedclusters", ("get",), "west")
    | rights(OWN, "federatedclusters/status", ("get", "patch"), "west")
)
AT_ITS_PLACE = rights(OWN, "intermediatecertificaterequests", ("create", *READ)) | rights(
    "", "serviceaccounts/token", ("create",), "meshca"
)


def test_a_secondary_may_do_what_the_table_says_and_nothing_else(released: Cluster) -> None:
    released.apply(PRIMARY.read_text())
    secondary, bystander = released.client(token=released.token(WEST, "meshca")), workload(released, SHOP)
    for place, more in ((WEST, AT_ITS_PLACE), (HOME, set()), (SHOP, set()), ("kube-system", set())):

        def differences(place: str = place, more: set[Right] = more) -> JSON:
            return {"rights": (held(secondary, place) - held(bystander, place)) ^ (SECONDARY | more)}

        assert not any(settled(differences).values()), (place, differences())


# --- the same asked one by one, of the authoriser itself ------------------------------------------

BUNDLE = "meshca-trust-bundle"
NAMED = [
    ("the Lease", "coordination.k8s.io", "leases", HOME, "meshca", {"get", "create", "update", "patch"}),
    ("another Lease", "coordination.k8s.io", "leases", HOME, "other", set()),
    ("a Lease of that name elsewhere", "coordination.k8s.io", "leases", SHOP, "meshca", set()),
    ("the bundle", "", "configmaps", SHOP, BUNDLE, {*READ, *WRITE}),
    ("another ConfigMap", "", "configmaps", SHOP, "other", set()),
    ("a Secret elsewhere", "", "secrets", SHOP, "meshca-root-default-0123456789", set()),
    ("a Secret of Kubernetes", "", "secrets", "kube-system", "bootstrap-token-abc", set()),
    ("its admission policy", ADMISSION, "validatingadmissionpolicies", "", POLICIES[0], {*READ}),
    ("another admission policy", ADMISSION, "validatingadmissionpolicies", "", "other", set()),
    ("its own role", RBAC, "clusterroles", "", "meshca-controller", set()),
    ("its own token", "", "serviceaccounts/token", HOME, "meshca", set()),
    ("its own Deployment", "apps", "deployments", HOME, "meshca", set()),
    ("its own CRD", "apiextensions.k8s.io", "customresourcedefinitions", "", "caroots.meshca.dev", set()),
    ("a wish", OWN, "caconfigurations", "", "default", {*READ}),
    ("a leaf", OWN, LEAFS, SHOP, "web", {*READ, "delete"}),
    ("what it is asked for", OWN, f"{LEAFS}/status", SHOP, "web", {"update", "patch"}),
]


@pytest.mark.parametrize(("row"), NAMED, ids=[row[0] for row in NAMED])
def test_what_the_operator_may_do_to_one_object(
    row: tuple[str, str, str, str, str, set[str]], released: Cluster
) -> None:
    _, group, resource, namespace, name, verbs = row
    account = User.account(HOME, "meshca")

    def differences() -> JSON:
        rights = {verb: Right(group, resource, verb, name) for verb in EVERY}
        return {"verbs": {v for v in EVERY if may(released, account, rights[v], namespace)} ^ verbs}

    assert settled(differences) == {"verbs": set()}


RAISING = [
    ("escalate", RBAC, "clusterroles"),
    ("bind", RBAC, "clusterroles"),
    ("impersonate", "", "users"),
    ("impersonate", "", "groups"),
    ("impersonate", "", "serviceaccounts"),
    ("sign", "certificates.k8s.io", "signers"),
    ("approve", "certificates.k8s.io", "signers"),
    ("create", "", "pods/exec"),
]


@pytest.mark.parametrize(("verb", "group", "resource"), RAISING, ids=[f"{r[0]} {r[2]}" for r in RAISING])
@pytest.mark.parametrize("account", ["meshca", "meshca-test"])
def test_no_account_of_the_chart_may_raise_itself(
    account: str, verb: str, group: str, resource: str, released: Cluster
) -> None:
    for namespace in ("", HOME):
        assert not may(released, User.account(HOME, account), Right(group, resource, verb), namespace)


# --- the trickiest, for real ----------------------------------------------------------------------


def call(client: Client, method: str, path: str, body: Any = None, **query: str) -> int:
    return client.exchange(method, path, body, query=query or None).status


def apply(client: Client, path: str, body: JSON) -> int:
    query = {"fieldManager": "meshca-operator"}
    return client.exchange("PATCH", path, body, query=query, content_type=APPLY_PATCH).status


LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases"


def lease(name: str) -> JSON:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name},
        "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15},
    }


def test_the_lease_is_made_by_apply_only_and_no_other_lease_at_all(operator: Client) -> None:
    assert call(operator, "POST", LEASES, lease("meshca")) == 403
    assert apply(operator, f"{LEASES}/meshca", lease("meshca")) in {200, 201}
    assert apply(operator, f"{LEASES}/other", lease("other")) == 403
    assert call(operator, "GET", f"{LEASES}/meshca") == 200
    assert call(operator, "GET", LEASES) == 403
    assert call(operator, "DELETE", f"{LEASES}/meshca") == 403


def test_bundles_are_listed_by_name_over_all_namespaces(operator: Client) -> None:
    by_name = {"fieldSelector": "metadata.name=meshca-trust-bundle"}
    assert call(operator, "GET", "/api/v1/configmaps", **by_name) == 200
    assert call(operator, "GET", "/api/v1/configmaps", fieldSelector="metadata.name=other") == 403
    assert call(operator, "GET", "/api/v1/configmaps") == 403
    assert call(operator, "GET", "/api/v1/configmaps", labelSelector="meshca.dev/trust-bundle") == 403


def test_admission_policies_are_listed_by_name_only(operator: Client) -> None:
    path = f"/apis/{ADMISSION}/v1/validatingadmissionpolicies"
    assert call(operator, "GET", path, fieldSelector="metadata.name=requester.meshca.dev") == 200
    assert call(operator, "GET", path) == 403


def test_an_empty_patch_does_not_give_away_a_secret(operator: Client, released: Cluster) -> None:
    body = {"metadata": {"name": "theirs"}, "stringData": {"password": "x"}}
    released.request("POST", f"/api/v1/namespaces/{SHOP}/secrets", body)
    path = f"/api/v1/namespaces/{SHOP}/secrets/theirs"
    assert call(operator, "PATCH", path, {}) == 403
    assert call(operator, "GET", path) == 403


def test_a_cluster_trust_bundle_of_another_signer_is_refused(operator: Client) -> None:
    if call(operator, "GET", "/apis/certificates.k8s.io/v1/clustertrustbundles") == 404:
        pytest.skip("this version has no ClusterTrustBundle v1")
    pem = trustme.CA().cert_pem.bytes().decode()

    def publish(signer: str) -> int:
        name = signer.replace("/", ":") + ":bundle"
        body = {"metadata": {"name": name}, "spec": {"signerName": signer, "trustBundle": pem}}
        return call(operator, "POST", "/apis/certificates.k8s.io/v1/clustertrustbundles", body, dryRun="All")

    assert publish("meshca.dev/default") == 201
    assert publish("meshca.dev/of-another-configuration") == 201
    assert publish("example.org/theirs") == 403
    assert publish("meshca.dev.example.org/default") == 403


def test_the_operator_cannot_raise_itself(operator: Client) -> None:
    binding = bind("cluster-admin", HOME, "meshca")
    rules = {"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}
    assert call(operator, "POST", f"/apis/{RBAC}/v1/namespaces/{HOME}/rolebindings", binding) == 403
    assert call(operator, "PATCH", f"/apis/{RBAC}/v1/clusterroles/meshca-controller", rules) == 403
    token = f"/api/v1/namespaces/{HOME}/serviceaccounts/meshca/token"
    assert call(operator, "POST", token, {"spec": {}}) == 403
