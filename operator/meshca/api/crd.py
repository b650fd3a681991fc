"""The five CustomResourceDefinitions, as data.

Decides names, columns and subresources; schemas come from the models, rules from ``rules``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from meshca.api import names
from meshca.api.rules import add_rules
from meshca.api.schema import spec_and_status
from meshca.api.v1alpha1 import (
    KINDS,
    CAConfiguration,
    CARoot,
    FederatedCluster,
    IntermediateCertificateRequest,
    LeafCertificateRequest,
)

if TYPE_CHECKING:
    from meshca.api.v1alpha1.metadata import Object

JSON = dict[str, Any]
_READY: Final = '.status.conditions[?(@.type=="Ready")]'


@dataclass(frozen=True, slots=True)
class Column:
    """One column of ``kubectl get``; ``wide`` ones show with ``-o wide`` only.

    Future times are strings: kubectl prints a future ``date`` as ``<invalid>``.
    """

    name: str
    path: str
    type: str = "string"
    wide: bool = False

    def to_dict(self) -> JSON:
        """Return the column as the CRD writes it."""
        written: JSON = {"name": self.name, "type": self.type, "jsonPath": self.path}
        return written | ({"priority": 1} if self.wide else {})


_AGE: Final = Column("Age", ".metadata.creationTimestamp", "date")


@dataclass(frozen=True, slots=True)
class Shape:
    """What a CRD says beside its schema."""

    short: str
    columns: tuple[Column, ...]
    selectable: tuple[str, ...] = field(default=())


SHAPES: Final[dict[type[Object], Shape]] = {
    CAConfiguration: Shape(
        "cac",
        (
            Column("Ready", f"{_READY}.status"),
            Column("Root", ".status.activeRoot"),
            Column("Signer Expires", ".status.signer.notAfter"),
            Column("Phase", ".status.rotation.phase"),
            Column("Percent", ".status.rotation.percent", "integer"),
            _AGE,
            Column("Reason", f"{_READY}.reason", wide=True),
            Column("Trust Domain", ".status.trustDomain", wide=True),
            Column("Sequence", ".status.bundle.sequence", "integer", wide=True),
            Column("Bundle", ".status.bundle.digest", wide=True),
        ),
    ),
    CARoot: Shape(
        "caroot",
        (
            Column("Configuration", ".spec.caConfigurationName"),
            Column("State", ".status.state"),
            Column("Source", ".spec.source"),
            Column("Expires", ".status.notAfter"),
            Column("Leaves", ".status.leaves", "integer"),
            Column("Prunable After", ".status.prunableAfter"),
            _AGE,
            Column("Ready", f"{_READY}.status", wide=True),
            Column("Signer Expires", ".status.signer.notAfter", wide=True),
            Column("Activated", ".status.activatedAt", wide=True),
            Column("Rotated Out", ".status.rotatedOutAt", wide=True),
            Column("Fingerprint", ".status.fingerprint", wide=True),
        ),
    ),
    LeafCertificateRequest: Shape(
        "lcr",
        (
            Column("Ready", f"{_READY}.status"),
            Column("Reason", f"{_READY}.reason"),
            Column("SPIFFE ID", ".status.spiffeID"),
            Column("Expires", ".status.notAfter"),
            _AGE,
            Column("State", ".status.state", wide=True),
            Column("Serial", ".status.serialNumber", wide=True),
            Column("Renew At", ".status.renewAt", wide=True),
            Column("Root", ".status.root", wide=True),
            Column("Service Account", ".spec.serviceAccountName", wide=True),
        ),
        selectable=(".spec.caConfigurationName",),
    ),
    IntermediateCertificateRequest: Shape(
        "icr",
        (
            Column("Cluster", ".spec.clusterName"),
            Column("Ready", f"{_READY}.status"),
            Column("Reason", f"{_READY}.reason"),
            Column("Root", ".status.root"),
            Column("Expires", ".status.notAfter"),
            _AGE,
            Column("Configuration", ".spec.caConfigurationName", wide=True),
            Column("Requester", ".spec.requester", wide=True),
        ),
    ),
    FederatedCluster: Shape(
        "fedc",
        (
            Column("Cluster", ".spec.clusterName"),
            Column("Ready", f"{_READY}.status"),
            Column("Converged", '.status.conditions[?(@.type=="Converged")].status'),
            Column("Signer Expires", ".status.signerNotAfter"),
            Column("Last Seen", ".status.lastSeen", "date"),
            _AGE,
            Column("Reachable", '.status.conditions[?(@.type=="Reachable")].status', wide=True),
            Column("Active Root", ".status.activeRoot", wide=True),
            Column("Bundle", ".status.bundleDigest", wide=True),
            Column("Namespace", ".spec.namespace", wide=True),
        ),
    ),
}


def schema(kind: type[Object]) -> JSON:
    """Return the structural schema of a whole object of this kind, rules included."""
    spec, status = spec_and_status(kind)
    # Tools that compute health take an object without a status for finished.
    status["default"] = {"observedGeneration": 0}
    summary = (kind.__doc__ or "").splitlines()[0]
    whole: JSON = {
        "type": "object",
        "description": summary,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    }
    add_rules(kind, whole)
    return whole


def custom_resource_definition(kind: type[Object]) -> JSON:
    """Return the CustomResourceDefinition of this kind."""
    resource, shape = kind.resource, SHAPES[kind]
    version: JSON = {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [column.to_dict() for column in shape.columns],
        "schema": {"openAPIV3Schema": schema(kind)},
    }
    if shape.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in shape.selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{resource.plural}.{resource.group}",
            "labels": {"app.kubernetes.io/name": names.MANAGED_BY},
        },
        "spec": {
            "group": resource.group,
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "names": {
                "plural": resource.plural,
                "singular": resource.kind.lower(),
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "shortNames": [shape.short],
                "categories": ["meshca"],
            },
            "versions": [version],
        },
    }


def all_definitions() -> dict[str, JSON]:
    """Return all CustomResourceDefinitions by their names."""
    found = [custom_resource_definition(kind) for kind in KINDS]
    return {definition["metadata"]["name"]: definition for definition in found}
