"""Two workloads shake hands: a server with a managed leaf, a client with a CSR leaf of its own key.

Where there is a node they are Pods of the operator's image, else processes of this machine; both run
``e2e/peer.py``. Decides how they are started and what they are given, nothing about TLS.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from e2e import processes, workload
from e2e.errors import HarnessError

if TYPE_CHECKING:
    from e2e.cluster import Cluster

JSON = dict[str, Any]
PEER = Path(__file__).with_name("peer.py")
SERVER, CLIENT = "payment", "cart"
PORT = 8443
SECONDS = 60.0


def where(cluster: Cluster) -> str:
    """Say where the two run."""
    return "between two Pods" if cluster.has_nodes else "between two processes of this machine"


def run(cluster: Cluster, namespace: str) -> list[str]:
    """Shake hands once and return what server and client said."""
    return _pods(cluster, namespace) if cluster.has_nodes else _processes(cluster, namespace)


def _identity(cluster: Cluster, namespace: str, account: str) -> str:
    found = cluster.request("GET", "/apis/meshca.dev/v1alpha1/caconfigurations/default")
    return f"spiffe://{found['status']['trustDomain']}/ns/{namespace}/sa/{account}"


def _roles(cluster: Cluster, namespace: str, address: str, caller: str) -> tuple[list[str], list[str]]:
    serve = ["serve", "--address", address, "--peer", _identity(cluster, namespace, CLIENT)]
    call = ["call", "--address", caller, "--peer", _identity(cluster, namespace, SERVER)]
    return serve, [*call, "--request", f"{CLIENT}-live", "--account", CLIENT]


# --- processes ------------------------------------------------------------------------------------


def _processes(cluster: Cluster, namespace: str) -> list[str]:
    address = f"127.0.0.1:{processes.free_port()}"
    serve, call = _roles(cluster, namespace, address, address)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bundle = cluster.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/meshca-trust-bundle")
        (place / "ca.crt").write_text(bundle["data"]["ca.crt"])
        secret = cluster.request("GET", f"/api/v1/namespaces/{namespace}/secrets/{SERVER}-tls")
        for entry in ("tls.crt", "tls.key"):
            (place / entry).write_bytes(workload.secret_entry(secret, entry))
        tokens = place / "tokens"
        tokens.mkdir()
        (tokens / "token").write_text(cluster.token(namespace, CLIENT))
        (tokens / "namespace").write_text(namespace)
        (tokens / "ca.crt").write_bytes(cluster.ca_file.read_bytes())
        common = ["--bundle", str(place / "ca.crt")]
        server = stack.enter_context(
            subprocess.Popen(
                [sys.executable, str(PEER), *serve, *common, "--pair", str(place)],
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(server.terminate)
        assert server.stdout is not None
        server.stdout.readline()
        api = urlsplit(cluster.server)
        environment = {"KUBERNETES_SERVICE_HOST": str(api.hostname), "KUBERNETES_SERVICE_PORT": str(api.port)}
        client = subprocess.run(
            [sys.executable, str(PEER), *call, *common, "--token-dir", str(tokens)],
            env=environment | {"PATH": os.environ["PATH"]},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=SECONDS,
        )
        return [f"{SERVER}: {server.stdout.readline().strip()}", f"{CLIENT}: {client.stdout.strip()}"]


# --- Pods -----------------------------------------------------------------------------------------


def _pods(cluster: Cluster, namespace: str) -> list[str]:
    image = _operator_image(cluster)
    serve, call = _roles(cluster, namespace, f"0.0.0.0:{PORT}", f"$(PAYMENT_SERVICE_HOST):{PORT}")
    script = {"metadata": {"name": "peer", "namespace": namespace}, "data": {"peer.py": PEER.read_text()}}
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", **script})
    cluster.apply(_service(namespace))
    cluster.apply(_pod(namespace, SERVER, image, [*serve, "--pair", "/pair"], secret=f"{SERVER}-tls"))
    _wait_phase(cluster, namespace, SERVER, "Running")
    cluster.apply(_pod(namespace, CLIENT, image, call))
    _wait_phase(cluster, namespace, CLIENT, "Succeeded")
    said = []
    for name in (SERVER, CLIENT):
        lines = cluster.kubectl("-n", namespace, "logs", name).stdout.strip().splitlines()
        said.append(f"{name}: {lines[-1]}")
    return said


def _operator_image(cluster: Cluster) -> str:
    path = "/apis/apps/v1/namespaces/meshca-system/deployments/meshca"
    found = cluster.request("GET", path)["spec"]["template"]["spec"]["containers"][0]["image"]
    return str(found)


def _service(namespace: str) -> JSON:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVER, "namespace": namespace},
        "spec": {"selector": {"app": SERVER}, "ports": [{"port": PORT}]},
    }


def _pod(namespace: str, name: str, image: str, arguments: list[str], *, secret: str = "") -> JSON:
    volumes: list[JSON] = [
        {"name": "peer", "configMap": {"name": "peer"}},
        {"name": "roots", "configMap": {"name": "meshca-trust-bundle"}},
        {"name": "tmp", "emptyDir": {"medium": "Memory"}},
    ]
    mounts: list[JSON] = [
        {"name": "peer", "mountPath": "/peer"},
        {"name": "roots", "mountPath": "/roots"},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  in the Pod
    ]
    if secret:
        volumes.append({"name": "pair", "secret": {"secretName": secret}})
        mounts.append({"name": "pair", "mountPath": "/pair"})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {
            "serviceAccountName": name,
            "restartPolicy": "Never",
            "volumes": volumes,
            "containers": [
                {
                    "name": "peer",
                    "image": image,
                    "command": ["python3", "/peer/peer.py"],
                    "args": [*arguments, "--bundle", "/roots/ca.crt"],
                    "volumeMounts": mounts,
                }
            ],
        },
    }


def _wait_phase(cluster: Cluster, namespace: str, name: str, phase: str) -> None:
    def met(pods: list[JSON]) -> JSON | None:
        for pod in pods:
            if pod["status"].get("phase") == "Failed":
                raise HarnessError(cluster.kubectl("-n", namespace, "logs", name, check=False).stdout)
            if pod["status"].get("phase") == phase:
                return pod
        return None

    cluster.wait_for(met, f"/api/v1/namespaces/{namespace}/pods/{name}", SECONDS)
