"""Asks an API server who may do what.

Decides how an authoriser's answer is compared with a table: as a flat set of rights. Never writes to
the cluster.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from e2e.errors import HarnessError
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from e2e.client import Client
    from e2e.cluster import Cluster

JSON = dict[str, Any]
RBAC: Final = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One verb on one resource, of every name or of one; ``resource`` may be ``kind/subresource``."""

    group: str
    resource: str
    verb: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class User:
    """A user name with the groups that it comes with."""

    name: str
    groups: tuple[str, ...] = ("system:authenticated",)

    @classmethod
    def account(cls, namespace: str, name: str) -> User:
        """Return a ServiceAccount as the API server knows it."""
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        return cls(f"system:serviceaccount:{namespace}:{name}", groups)


def rights(group: str, resource: str, verbs: Iterable[str], *names: str) -> set[Right]:
    """Return the rights that a rule of a role gives."""
    return {Right(group, resource, verb, name) for verb in verbs for name in names or ("",)}


def held(client: Client, namespace: str) -> set[Right]:
    """Return every right that the caller has in a namespace and beyond it, as the authorisers list them.

    A right on non-resource URLs has the URL as its resource and the group ``url``. ``HarnessError``
    when an authoriser cannot list what it allows.
    """
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    status = client.request("POST", path, {"spec": {"namespace": namespace}})["status"]
    if status["incomplete"]:
        raise HarnessError(f"the list of rules is incomplete: {status.get('evaluationError')}")
    found = {
        right
        for rule in status["resourceRules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for right in rights(group, resource, rule["verbs"], *rule.get("resourceNames", ()))
    }
    for rule in status["nonResourceRules"]:
        found |= {Right("url", url, verb) for url in rule["nonResourceURLs"] for verb in rule["verbs"]}
    return found


def may(cluster: Cluster, user: User, right: Right, namespace: str = "") -> bool:
    """Ask about one right; ``namespace=""`` is the cluster, or all namespaces at once."""
    resource, _, subresource = right.resource.partition("/")
    attributes = {
        "verb": right.verb,
        "group": right.group,
        "resource": resource,
        "subresource": subresource,
        "namespace": namespace,
        "name": right.name,
    }
    spec = {"user": user.name, "groups": list(user.groups), "resourceAttributes": attributes}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    return bool(cluster.request("POST", path, {"spec": spec})["status"]["allowed"])


def bind(role: str, namespace: str, user: str) -> JSON:
    """Return a RoleBinding that gives a ClusterRole to a user in one namespace."""
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": user, "namespace": namespace},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
    }


def wait_for_aggregation(cluster: Cluster, role: str) -> None:
    """Return once a built-in role holds rights on our kinds."""
    path = f"/apis/{RBAC}/v1/clusterroles/{role}"
    cluster.wait_for(
        lambda found: any(names.GROUP in r["apiGroups"] for f in found for r in f["rules"]), path
    )


def settled(differences: Callable[[], JSON]) -> JSON:
    """Ask until nothing differs, for a minute: authorisers learn of a role moments after it is there."""
    deadline = time.monotonic() + 60
    while any((found := differences()).values()) and time.monotonic() < deadline:
        pass
    return found
