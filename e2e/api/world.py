"""The API alone, as a user meets it: CRDs and admission policies installed, no operator anywhere.

Decides who is who in these scenarios; never grants more than a role in a real cluster would.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from e2e import access, polling
from e2e.client import path_of
from e2e.installation import wait_served
from meshca.api import admission, names
from meshca.api.policyparts import AdmissionParameters
from tests.fakes.api_rows import CSR

if TYPE_CHECKING:
    from e2e.client import Response
    from e2e.cluster import Cluster
    from meshca.api.names import Resource

JSON = dict[str, Any]
ROOT: Final = Path(__file__).parents[2]
SYSTEM: Final = "meshca-system"
OPERATOR: Final = f"system:serviceaccount:{SYSTEM}:meshca"
BREAK_GLASS: Final = "meshca:break-glass"
PARAMETERS: Final = AdmissionParameters(OPERATOR, SYSTEM, BREAK_GLASS)
MEDIC: Final = "medic"
"""An administrator who is in the break-glass group."""
NOW: Final = "2020-01-01T00:00:00Z"
RBAC: Final = "rbac.authorization.k8s.io/v1"


def install(cluster: Cluster) -> None:
    """Install CRDs and policies, and return once both are in force."""
    cluster.identity(MEDIC, ["system:masters", BREAK_GLASS])
    cluster.kubectl("apply", "--server-side", "--filename", str(ROOT / "crds"))
    make_namespace(cluster, SYSTEM)
    make_account(cluster, SYSTEM, "meshca")
    policies: list[JSON] = []
    for name in admission.VALIDATING:
        policies += [admission.validating_policy(name, PARAMETERS), admission.validating_binding(name)]
    if mutates(cluster):
        policies += [admission.mutating_policy(), admission.mutating_binding()]
    cluster.apply(policies)
    wait_served(cluster)
    _wait_enforced(cluster)


def _wait_enforced(cluster: Cluster) -> None:
    """Return once each policy refuses (or fills in) what it should: that begins moments after it exists."""
    secret = {"metadata": {"name": "probe", "labels": {names.LABEL_KEY_ROLE: "probe"}}}
    cluster.request("POST", path_of(names.SECRET, SYSTEM), secret)

    def enforced() -> bool:
        other = create(cluster, names.INTERMEDIATE, intermediate("probe"), namespace="default", dry=True)
        leaf = create(cluster, names.LEAF, managed("probe"), namespace="default", dry=True)
        return (
            create(cluster, names.LEAF, managed("probe"), namespace=SYSTEM, dry=True).status == 403
            and create(cluster, names.CA_ROOT, root("probe"), dry=True).status == 403
            and other.status == 403
            and delete(cluster, names.SECRET, "probe", namespace=SYSTEM, dry=True).status == 403
            and leaf.body.get("spec", {}).get("requester") == filled(cluster, "admin")
        )

    polling.until(enforced, "the admission policies are not enforced")


def mutates(cluster: Cluster) -> bool:
    """Tell whether the API server has MutatingAdmissionPolicy v1 (1.32, the oldest supported, has not)."""
    found = cluster.request("GET", "/apis/admissionregistration.k8s.io/v1")["resources"]
    return any(resource["name"] == "mutatingadmissionpolicies" for resource in found)


def filled(cluster: Cluster, caller: str) -> str | None:
    """Return what ``spec.requester`` holds when the caller left it out."""
    return caller if mutates(cluster) else None


def make_namespace(cluster: Cluster, name: str) -> None:
    """Make a namespace and return once it has its default account."""
    cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    cluster.wait_for(bool, f"/api/v1/namespaces/{name}/serviceaccounts/default")


def make_account(cluster: Cluster, namespace: str, name: str) -> None:
    """Make a ServiceAccount."""
    path = path_of(names.SERVICE_ACCOUNT, namespace)
    cluster.request("POST", path, {"metadata": {"name": name}})


def grant(cluster: Cluster, user: str, namespace: str, rules: list[JSON]) -> None:
    """Allow a user (or, with a colon in front, a ServiceAccount) these rules in a namespace, all if empty.

    Returns once they are in force.
    """
    name = f"grant-{user.replace(':', '-')}".lower()
    binding = {
        "apiVersion": RBAC,
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "Role" if namespace else "ClusterRole",
            "name": name,
        },
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }
    role = {
        "apiVersion": RBAC,
        "kind": "Role" if namespace else "ClusterRole",
        "metadata": binding["metadata"],
        "rules": rules,
    }
    cluster.apply([role, binding])
    granted = [_one_of(rule) for rule in rules]
    who = _known(user)
    polling.until(
        lambda: all(access.may(cluster, who, right, namespace) for right in granted),
        f"the rights of {user} are not in force",
    )


def _known(user: str) -> access.User:
    _, kind, *account = user.split(":") if user.startswith("system:") else ("", "")
    return access.User.account(*account) if kind == "serviceaccount" else access.User(user)


def _one_of(rule: JSON) -> access.Right:
    """Return one of the rights that a rule gives: a role comes into force as a whole."""
    group, resource, verb = (rule[field][0] for field in ("apiGroups", "resources", "verbs"))
    return access.Right(
        group,
        names.CA_ROOT.plural if resource == "*" else resource,
        "get" if verb == "*" else verb,
        next(iter(rule.get("resourceNames", ())), ""),
    )


ASK: Final[list[JSON]] = [
    {"apiGroups": [names.GROUP], "resources": [names.LEAF.plural], "verbs": ["*"]},
    {"apiGroups": [names.GROUP], "resources": [f"{names.LEAF.plural}/status"], "verbs": ["*"]},
]
"""What meshca-requester and more grants: RBAC is never what stops a request in these scenarios."""


def tokens_for(*accounts: str) -> JSON:
    """Return the rule that lets somebody create tokens for these ServiceAccounts, for all if empty."""
    rule: JSON = {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]}
    return rule | ({"resourceNames": list(accounts)} if accounts else {})


# --- objects ------------------------------------------------------------------------------------


def managed(name: str, account: str = "default", **spec: Any) -> JSON:
    """Return a request for a managed leaf."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.LEAF.kind,
        "metadata": {"name": name},
        "spec": {"serviceAccountName": account, "secretName": f"{name}-tls", **spec},
    }


def intermediate(name: str, cluster: str = "west", requester: str = "nobody") -> JSON:
    """Return a request for a signer."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.INTERMEDIATE.kind,
        "metadata": {"name": name},
        "spec": {"clusterName": cluster, "request": CSR, "requester": requester},
    }


def root(name: str, annotations: dict[str, str] | None = None) -> JSON:
    """Return a CARoot; what stands for its certificate is none."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.CA_ROOT.kind,
        "metadata": {"name": name, "annotations": annotations or {}, "finalizers": [names.FINALIZER]},
        "spec": {"caConfigurationName": "default", "certificate": "PEM", "source": "Generated"},
    }


def ready(reason: str = "Issued", status: str = "True", generation: int = 1) -> JSON:
    """Return a status that says Ready."""
    condition = {
        "type": "Ready",
        "status": status,
        "reason": reason,
        "message": "",
        "observedGeneration": generation,
        "lastTransitionTime": NOW,
    }
    return {"observedGeneration": generation, "conditions": [condition]}


# --- calls --------------------------------------------------------------------------------------


def create(
    cluster: Cluster,
    resource: Resource,
    body: JSON,
    *,
    namespace: str = "",
    identity: str = "admin",
    token: str = "",
    dry: bool = False,
) -> Response:
    """Create an object as somebody; the answer whatever its status."""
    client = cluster.client(token=token) if token else cluster.client(identity)
    query = {"dryRun": "All"} if dry else None
    return client.exchange("POST", path_of(resource, namespace), body, query=query)


def patch(
    cluster: Cluster,
    resource: Resource,
    name: str,
    body: JSON,
    *,
    namespace: str = "",
    subresource: str = "",
    identity: str = "admin",
    token: str = "",
) -> Response:
    """Merge-patch an object as somebody; the answer whatever its status."""
    client = cluster.client(token=token) if token else cluster.client(identity)
    return client.exchange("PATCH", path_of(resource, namespace, name, subresource), body)


def delete(
    cluster: Cluster,
    resource: Resource,
    name: str,
    *,
    namespace: str = "",
    identity: str = "admin",
    token: str = "",
    dry: bool = False,
    policy: str = "Background",
) -> Response:
    """Delete an object as somebody; the answer whatever its status."""
    client = cluster.client(token=token) if token else cluster.client(identity)
    body: JSON = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy}
    return client.exchange(
        "DELETE", path_of(resource, namespace, name), body | ({"dryRun": ["All"]} if dry else {})
    )


def write_status(cluster: Cluster, resource: Resource, name: str, status: JSON, namespace: str = "") -> JSON:
    """Write a status as the break-glass group may."""
    path = path_of(resource, namespace, name, "status")
    return cluster.request("PATCH", path, {"status": status}, identity=MEDIC)
