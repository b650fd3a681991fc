"""A mesh as the command line sees it."""

from __future__ import annotations

from typing import Any

from meshca.api import names
from meshca.cli.registration import Registration
from meshca.pki.bundle import Bundle
from tests.fakes.cli import FINE, Mesh

JSON = dict[str, Any]
CA = "-----BEGIN CERTIFICATE-----\nof the API server\n-----END CERTIFICATE-----\n"


def primary(*conditions: JSON) -> Mesh:
    """Return a primary whose status says truly which roots it publishes."""
    mesh = Mesh()
    bundle = Bundle.of([mesh.a.root])
    written = {"roots": [*bundle.fingerprints], "digest": bundle.digest, "sequence": 3}
    mesh.configure(*(conditions or FINE), bundle=written)
    mesh.root("default-a", mesh.a)
    where = {"name": "kube-root-ca.crt", "namespace": "kube-system"}
    mesh.server.create(names.CONFIG_MAP, {"metadata": where, "data": {"ca.crt": CA}})
    mesh.server.audit.clear()
    return mesh


def everything(mesh: Mesh, cluster: str = "west") -> dict[tuple[str, str], JSON]:
    """Return what stands in the primary of a cluster's registration, by kind and name."""
    found = {}
    for resource, body in Registration(cluster).objects():
        metadata = body["metadata"]
        item = mesh.server.find(resource, metadata["name"], metadata.get("namespace", ""))
        if item is not None:
            found[resource.kind, metadata["name"]] = item
    return found


def report(mesh: Mesh, **status: Any) -> None:
    """Have west say something of itself."""
    mesh.server.merge(names.FEDERATED_CLUSTER, "west", "", {"status": status}, subresource="status")
