"""What a primary holds of a secondary: its registration, its account, its rights. As plain objects.

Pure: a name in, objects out, in the order in which they are made. The same objects stand in
examples/federation for those who keep them in Git.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshca.api import names
from meshca.api.v1alpha1.scalars import DNS_LABEL
from meshca.errors import InvalidError

if TYPE_CHECKING:
    from meshca.api.names import Resource

JSON = dict[str, Any]
_RBAC: Final = "rbac.authorization.k8s.io"
NAME_LIMIT: Final = 63 - len(names.federation_namespace(""))
"""Characters of a cluster's name, since its namespace has it in its own."""


@dataclass(frozen=True, slots=True)
class Registration:
    """One secondary of one CAConfiguration; ``max_intermediate_ttl`` is a duration or empty."""

    cluster: str
    configuration: str = "default"
    max_intermediate_ttl: str = ""

    def __post_init__(self) -> None:
        """``InvalidError`` for a name that cannot be that of a cluster."""
        if not re.fullmatch(DNS_LABEL, self.cluster) or len(self.cluster) > NAME_LIMIT:
            raise InvalidError(
                f"{self.cluster!r} cannot be the name of a cluster: lower-case letters, digits and '-', at"
                f" most {NAME_LIMIT} characters"
            )

    @property
    def namespace(self) -> str:
        """Return the namespace of the secondary in the primary."""
        return names.federation_namespace(self.cluster)

    @property
    def username(self) -> str:
        """Return the user name by which the API server knows the secondary."""
        return f"system:serviceaccount:{self.namespace}:{names.FEDERATION_ACCOUNT}"

    def objects(self) -> list[tuple[Resource, JSON]]:
        """Return all objects; each carries the label that says whose it is."""
        return [
            (names.NAMESPACE, self._object(names.NAMESPACE, self.namespace)),
            (names.FEDERATED_CLUSTER, self._registration()),
            (names.SERVICE_ACCOUNT, self._object(names.SERVICE_ACCOUNT, names.FEDERATION_ACCOUNT)),
            (names.ROLE, self._role()),
            (names.ROLE_BINDING, self._binding(names.ROLE_BINDING, names.FEDERATION_ACCOUNT)),
            (names.CLUSTER_ROLE, self._cluster_role()),
            (names.CLUSTER_ROLE_BINDING, self._binding(names.CLUSTER_ROLE_BINDING, self.namespace)),
            (
                names.CLUSTER_ROLE_BINDING,
                self._binding(
                    names.CLUSTER_ROLE_BINDING, f"{self.namespace}-roots", role=names.SECONDARY_ROLE
                ),
            ),
        ]

    def _object(self, resource: Resource, name: str, **parts: Any) -> JSON:
        metadata: JSON = {"name": name}
        if resource.namespaced:
            metadata["namespace"] = self.namespace
        metadata["labels"] = {
            names.LABEL_MANAGED_BY: names.MANAGED_BY,
            names.LABEL_FEDERATED_CLUSTER: self.cluster,
        }
        return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata} | parts

    def _registration(self) -> JSON:
        spec: JSON = {
            "clusterName": self.cluster,
            "caConfigurationName": self.configuration,
            "namespace": self.namespace,
            "requester": {"username": self.username},
        }
        if self.max_intermediate_ttl:
            spec["maxIntermediateTTL"] = self.max_intermediate_ttl
        return self._object(names.FEDERATED_CLUSTER, self.cluster, spec=spec)

    def _role(self) -> JSON:
        """Within its own namespace: ask for signers, read the answers, renew its own token."""
        return self._object(
            names.ROLE,
            names.FEDERATION_ACCOUNT,
            rules=[
                _rule(names.GROUP, names.INTERMEDIATE.plural, "create", "get", "list", "watch"),
                _rule("", "serviceaccounts/token", "create", name=names.FEDERATION_ACCOUNT),
            ],
        )

    def _cluster_role(self) -> JSON:
        """Its own registration, by name: read it, report into its status."""
        kind = names.FEDERATED_CLUSTER.plural
        return self._object(
            names.CLUSTER_ROLE,
            self.namespace,
            rules=[
                _rule(names.GROUP, kind, "get", name=self.cluster),
                _rule(names.GROUP, f"{kind}/status", "get", "patch", name=self.cluster),
            ],
        )

    def _binding(self, resource: Resource, name: str, *, role: str = "") -> JSON:
        kind = names.ROLE.kind if resource is names.ROLE_BINDING else names.CLUSTER_ROLE.kind
        subject = {
            "kind": names.SERVICE_ACCOUNT.kind,
            "name": names.FEDERATION_ACCOUNT,
            "namespace": self.namespace,
        }
        reference = {"apiGroup": _RBAC, "kind": kind, "name": role or name}
        return self._object(resource, name, roleRef=reference, subjects=[subject])


def _rule(group: str, resource: str, *verbs: str, name: str = "") -> JSON:
    return (
        {"apiGroups": [group], "resources": [resource]}
        | ({"resourceNames": [name]} if name else {})
        | {"verbs": [*verbs]}
    )
