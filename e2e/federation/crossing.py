"""Two workloads of different clusters that talk through Envoys, and a rotation of their mesh."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography import x509

from e2e import scenario
from e2e.federation.world import SECONDS
from e2e.mesh import rotation
from e2e.mesh.local import LocalPair

if TYPE_CHECKING:
    from e2e.cluster import Cluster
    from e2e.federation.world import Member, Mesh

JSON = dict[str, Any]


def pair(mesh: Mesh, member: Member, *, backwards: bool = False) -> LocalPair:
    """Return a client in the primary and a server in a secondary, or the other way round; not started."""
    ends = (mesh.primary.cluster, member.cluster)
    client, server = ends[::-1] if backwards else ends
    authority = client.request("GET", scenario.path(mesh.authority))
    return LocalPair(client, mesh.namespace, authority, server_cluster=server)


@dataclass(frozen=True, slots=True)
class Turned:
    """A rotation that all clusters of a mesh have been through; seconds from the primary's activation."""

    old: str
    new: str
    activated: float
    followed: dict[str, float]
    completed: dict[str, float]


def turn(mesh: Mesh, trigger: str, timeout: float = SECONDS) -> Turned:
    """Rotate in the primary and wait until every cluster has completed."""
    primary = mesh.primary.cluster
    old = rotation.active(primary, mesh.authority)
    started = time.monotonic()

    def moments(cluster: Cluster) -> tuple[float, float]:
        """Return when a cluster activated and when it had completed."""
        rotation.wait_active(cluster, mesh.authority, old, timeout)
        active = time.monotonic()
        rotation.follow(cluster, mesh.authority, old, timeout=timeout)
        return active, time.monotonic()

    with ThreadPoolExecutor(len(mesh.clusters)) as pool:
        watched = {cluster.name: pool.submit(moments, cluster) for cluster in mesh.clusters}
        rotation.begin(primary, mesh.authority, rotation={"trigger": trigger})
        found = {name: future.result() for name, future in watched.items()}
    zero = found[primary.name][0]
    new = rotation.active(primary, mesh.authority)
    return Turned(
        old,
        new,
        zero - started,
        {name: active - zero for name, (active, _) in found.items() if name != primary.name},
        {name: done - zero for name, (_, done) in found.items()},
    )


def prune(mesh: Mesh, root: str) -> None:
    """Have a root pruned at once, in the primary and then in each secondary, where it would stay for days."""
    rotation.prune_now(mesh.primary.cluster, root)
    for member in mesh.members:
        rotation.prune_now(member.cluster, root, SECONDS)


def trusts(cluster: Cluster, mesh: Mesh) -> set[int]:
    """Return the serial numbers of the roots in a cluster's published bundle."""
    text = scenario.bundle(cluster, mesh.namespace, mesh.bundle)
    return {root.serial_number for root in x509.load_pem_x509_certificates(text.encode())}
