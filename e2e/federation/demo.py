"""``make demo-federation``: two clusters, one mesh, a rotation in one that the other follows under traffic.

Decides what is shown and in which order. The clusters are control planes of this machine, and the second
reaches the first over a link of its own, as it would reach it over a network.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2e import installation, workload
from e2e.controlplane import ControlPlane
from e2e.demo import EXAMPLES, NAMESPACE, console, step
from e2e.federation import world
from e2e.link import Link
from e2e.mesh import rotation
from e2e.mesh import show as show_rotation
from e2e.mesh.local import LocalPair

if TYPE_CHECKING:
    from e2e.cluster import Cluster
    from e2e.mesh.rotation import Progress

JSON = dict[str, Any]
AUTHORITY = "default"
PRIMARY, WEST = "primary", "west"
SECONDS = 120.0
ACCOUNTS = {PRIMARY: "payment", WEST: "cart"}


def main() -> int:
    """Run the demonstration and return the process's exit code."""
    step("two clusters side by side, control planes of this machine")
    with ControlPlane(PRIMARY) as primary, ControlPlane(WEST) as west, Link(primary.server) as link:
        for cluster in (primary, west):
            console.print(f"{cluster.name}: Kubernetes {cluster.version} at {cluster.server}")
        demonstrate(primary, west, link)
    step("done, and everything is cleaned up")
    return 0


def demonstrate(primary: Cluster, west: Cluster, link: Link) -> None:
    """Install, join, issue in both, verify across, rotate."""
    step("helm install meshca, in both")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(_install, (primary, west)))
    step("primary: kubectl apply -f examples/00-caconfiguration.yaml, wait until it is Ready")
    primary.apply((EXAMPLES / "00-caconfiguration.yaml").read_text())
    _on(primary, "wait", "--for=condition=Ready", f"cac/{AUTHORITY}", f"--timeout={SECONDS:.0f}s")
    _join(primary, west, link)
    step("a leaf in each cluster, and openssl verify -x509_strict against the bundle of the other")
    for cluster in (primary, west):
        _leaf(cluster, ACCOUNTS[cluster.name])
    for here, there in ((primary, west), (west, primary)):
        _verify(here, there)
    _rotate(primary, west)
    step("meshca federation status, in both")
    for cluster in (primary, west):
        _meshca(cluster, "federation", "status")


def _install(cluster: Cluster) -> None:
    cluster.apply((EXAMPLES / "01-namespace.yaml").read_text())
    values = {"managedKeys.namespaces": f"{{{NAMESPACE}}}", "replicas": "1"}
    installation.install(cluster, values=values, configuration=None, timeout=SECONDS)


def _on(cluster: Cluster, *arguments: str) -> None:
    """Run kubectl as a user of a cluster would, command and output shown."""
    console.print(f"{cluster.name}$ kubectl {' '.join(arguments)}")
    console.print(cluster.kubectl(*arguments).stdout.rstrip())


def _meshca(cluster: Cluster, *arguments: str) -> None:
    console.print(f"{cluster.name}$ meshca {' '.join(arguments)}")
    _, said, complaints = world.meshca(cluster, *arguments)
    console.print((said + complaints).rstrip())


def _join(primary: Cluster, west: Cluster, link: Link) -> None:
    step("primary: meshca federation invite west > join.yaml")
    file = Path(west.directory, "join.yaml")
    code, manifest, said = world.meshca(primary, "federation", "invite", WEST, "--server", link.url)
    if code:
        raise SystemExit(said)
    file.touch(mode=0o600)
    file.write_text(manifest)
    console.print(said.rstrip())
    step("west: kubectl apply -f join.yaml, wait until it is Ready")
    west.kubectl("apply", "-f", str(file))
    _on(west, "wait", "--for=condition=Ready", f"cac/{AUTHORITY}", f"--timeout={SECONDS:.0f}s")
    _on(west, "get", "cac,caroot")


def _leaf(cluster: Cluster, account: str) -> None:
    body = workload.leaf(NAMESPACE, account, account=account, secretName=f"{account}-tls")
    cluster.apply(
        [
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": account, "namespace": NAMESPACE},
            },
            body,
        ]
    )
    workload.wait_reason(cluster, NAMESPACE, account, "Issued")


def _verify(here: Cluster, there: Cluster) -> None:
    place = f"/api/v1/namespaces/{NAMESPACE}/configmaps/meshca-trust-bundle"
    bundle = there.request("GET", place)["data"]["ca.crt"]
    status = here.request("GET", workload.path(NAMESPACE, ACCOUNTS[here.name]))["status"]
    if complaint := workload.openssl_verify(status["certificateChain"], bundle):
        raise SystemExit(f"{here.name}: {complaint}")
    console.print(f"{status['spiffeID']} of {here.name}: OK in {there.name}")


def _rotate(primary: Cluster, west: Cluster) -> None:
    step("two Envoys, one in each cluster, mutual TLS, a new connection for each request")
    authority = primary.request("GET", f"{installation.CONFIGURATIONS}/{AUTHORITY}")
    live = LocalPair(primary, NAMESPACE, authority, server_cluster=west)
    for cluster in (primary, west):
        show_rotation.crowd(cluster, NAMESPACE)
    with live:
        step(f"primary: kubectl patch cac default --type=merge -p '{show_rotation.PATCH}'")
        _watch(primary, west, live)


def _watch(primary: Cluster, west: Cluster, live: LocalPair) -> None:
    old = rotation.active(primary, AUTHORITY)
    with live.stream(rate=40) as stream, ThreadPoolExecutor(1) as beside:
        stream.wait(20)
        board = show_rotation.Board(stream, console.print)
        board.line(f"traffic under {old}")

        def tell(now: Progress) -> None:
            if now.phase:
                board.line(f"west: {now.phase} {now.percent} %")

        following = beside.submit(rotation.follow, west, AUTHORITY, old, tell, SECONDS)
        rotation.begin(primary, AUTHORITY, rotation=show_rotation.ROTATION)
        rotated = rotation.follow(primary, AUTHORITY, old, board.progress, SECONDS)
        following.result()
        new = rotated["status"]["activeRoot"]
        live.wait_moved(stream, SECONDS)
        board.line("both Envoys show certificates under the new root")
        stream.wait(40)
    console.print(f"\n{stream.ok} handshakes across clusters during the rotation: {stream.failed} failed")
    if stream.failed:
        raise SystemExit("\n".join([str(stream), *live.complaints()]))
    live.assert_no_failure(stream)
    console.print(f"{new} is active in both")


if __name__ == "__main__":
    sys.exit(main())
