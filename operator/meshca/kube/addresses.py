"""How the API server addresses kinds and objects.

Decides URL paths only; never sends anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshca.api.names import Resource
    from meshca.engine.ports import JSON


def path_of(resource: Resource, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """Return the unquoted URL path of a collection, an object or a subresource."""
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    within = f"/namespaces/{namespace}" if namespace and resource.namespaced else ""
    tail = "".join(f"/{part}" for part in (name, subresource) if part)
    return f"{root}{within}/{resource.plural}{tail}"


def place(resource: Resource, body: JSON) -> tuple[str, str]:
    """Return namespace (empty for cluster-scoped kinds) and name of an object."""
    metadata = body["metadata"]
    return str(metadata.get("namespace", "")) if resource.namespaced else "", str(metadata.get("name", ""))


def key(namespace: str, name: str) -> str:
    """Name an object for people."""
    return f"{namespace}/{name}" if namespace else name


def object_path(resource: Resource, namespace: str, name: str, subresource: str = "") -> str:
    """Return the path of exactly one object; ``ValueError`` when the parts address anything else."""
    # An empty part would silently address the whole collection, or a cluster-wide one.
    if not name or "/" in name or (resource.namespaced and not namespace):
        raise ValueError(f"{resource.kind}: {namespace!r}/{name!r} does not address one object")
    return path_of(resource, namespace, name, subresource)
