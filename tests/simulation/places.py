"""Which namespaces are owed a bundle, read from the API server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.api.v1alpha1.selector import Selector

if TYPE_CHECKING:
    from tests.fakes.apiserver.server import ApiServer

JSON = dict[str, Any]


def selects(configuration: JSON, namespace: JSON) -> bool:
    """Tell whether a namespace is one that a configuration selects."""
    spec = ((configuration.get("spec") or {}).get("trustBundle") or {}).get("namespaceSelector") or {}
    return Selector.model_validate(spec).matches(namespace["metadata"].get("labels") or {})


def owes(server: ApiServer, configuration: JSON, namespace: str, bundle: str) -> bool:
    """Tell whether a namespace is owed the bundle: it is selected, or has left with leaves that live on."""
    found = server.store.get(names.NAMESPACE, ("", namespace))
    if found is None or found["metadata"].get("deletionTimestamp"):
        return False
    if selects(configuration, found):
        return True
    return server.store.get(names.CONFIG_MAP, (namespace, bundle)) is not None and any(
        (leaf.get("status") or {}).get("certificateChain")
        for leaf in server.store.items(names.LEAF)
        if leaf["metadata"]["namespace"] == namespace
    )
