"""What scenarios of one CA break and look up."""

from __future__ import annotations

from meshca.api import names
from tests.fakes.engine import NAMESPACE, Cluster


def root_of(cluster: Cluster) -> str:
    """Return the name of the one CARoot that is there."""
    [root] = cluster.server.all(names.CA_ROOT)
    return str(root["metadata"]["name"])


def break_glass(cluster: Cluster, name: str) -> None:
    """Delete a CA Secret by hand."""
    cluster.server.delete(names.SECRET, name, NAMESPACE)
