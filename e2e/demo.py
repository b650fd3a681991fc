"""``make demo``: the main job on a cluster of its own, shown step by step.

Brings up the best cluster that this machine allows, installs the chart, makes a CA and two leaves from
examples/, has OpenSSL judge them, lets two workloads shake hands, and ends with a rotation of the root
under live traffic. ``KEEP=1`` leaves it running.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from e2e import flavours, handshake, installation, workload
from e2e.mesh import show as show_rotation

if TYPE_CHECKING:
    from e2e.cluster import Cluster

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
NAMESPACE = "shop"
SECONDS = 120.0

console = Console(highlight=False, soft_wrap=True)
_started = time.monotonic()


def step(text: str) -> None:
    """Say what happens next, and when."""
    console.print(f"\n[bold]{time.monotonic() - _started:6.1f} s  {text}[/bold]")


def show(cluster: Cluster, *arguments: str) -> None:
    """Run kubectl as a user would, command and output shown."""
    console.print(f"$ kubectl {' '.join(arguments)}")
    console.print(cluster.kubectl(*arguments).stdout.rstrip())


def main() -> int:
    """Run the demonstration and return the process's exit code."""
    cluster = flavours.best("demo")
    step(f"cluster: flavour {cluster.flavour}")
    with cluster:
        console.print(f"Kubernetes {cluster.version} at {cluster.server}")
        demonstrate(cluster)
        if os.environ.get("KEEP"):
            cluster.keep()
            step(f"kept: export KUBECONFIG={cluster.kubeconfig()}")
            console.print(f"end it with: {cluster.how_to_end}")
            os._exit(0)
    if cluster.flavour == "kubeconfig":
        step("done; the cluster is yours, so everything stays in it")
    else:
        step("done, and everything is cleaned up")
    return 0


def demonstrate(cluster: Cluster) -> None:
    """Install, make a CA, issue, verify, shake hands."""
    step("kubectl apply -f examples/01-namespace.yaml; helm install meshca")
    cluster.apply((EXAMPLES / "01-namespace.yaml").read_text())
    installation.install(
        cluster,
        values={"managedKeys.namespaces": f"{{{NAMESPACE}}}", "requester.namespaces": f"{{{NAMESPACE}}}"},
        configuration=None,
        timeout=SECONDS,
    )
    step("kubectl apply -f examples/00-caconfiguration.yaml, wait until it is Ready")
    cluster.apply((EXAMPLES / "00-caconfiguration.yaml").read_text())
    show(cluster, "wait", "--for=condition=Ready", "cac/default", f"--timeout={SECONDS:.0f}s")
    step("kubectl apply -f examples/, wait until both leaves are Ready")
    for file in sorted(EXAMPLES.glob("*.yaml")):
        cluster.apply(file.read_text())
    show(cluster, "-n", NAMESPACE, "wait", "--for=condition=Ready", "lcr", "--all", "--timeout=60s")
    show(cluster, "get", "cac,caroot")
    show(cluster, "get", "lcr", "--all-namespaces")
    step("openssl verify -x509_strict, against the published bundle")
    for name in ("cart", "payment"):
        verify(cluster, name)
    step(f"TLS 1.3 with client certificates, {handshake.where(cluster)}")
    for line in handshake.run(cluster, NAMESPACE):
        console.print(line)
    rotate(cluster)


def rotate(cluster: Cluster) -> None:
    """Replace the root under live traffic, watched by whoever runs this."""
    live = show_rotation.pair(cluster, NAMESPACE)
    step(f"two Envoys, mutual TLS, a new connection for each request, {live.where}")
    # What shook hands above is over; a certificate that nobody renews would be waited for.
    show(cluster, "-n", NAMESPACE, "delete", "lcr", f"{handshake.CLIENT}-live")
    show_rotation.crowd(cluster, NAMESPACE)
    with live:
        step(f"rotation: kubectl patch cac default --type=merge -p '{show_rotation.PATCH}'")
        show_rotation.run(cluster, NAMESPACE, live, console.print)
    show(cluster, "get", "cac,caroot")


def verify(cluster: Cluster, name: str) -> None:
    """Have OpenSSL judge the chain of one example."""
    place = f"/api/v1/namespaces/{NAMESPACE}/configmaps/meshca-trust-bundle"
    bundle = cluster.request("GET", place)["data"]["ca.crt"]
    status = cluster.request("GET", workload.path(NAMESPACE, name))["status"]
    complaint = workload.openssl_verify(status["certificateChain"], bundle)
    if complaint:
        raise SystemExit(f"{name}: {complaint}")
    console.print(f"{name}: OK, {status['spiffeID']} until {status['notAfter']}")


if __name__ == "__main__":
    sys.exit(main())
