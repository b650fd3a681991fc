"""The two workloads as Pods on a node: a real kubelet brings certificates and roots into their volumes.

Decides what their Pods look like. Envoy itself is a file of this machine that is mounted into the
operator's image, which has the C library that Envoy needs: an image of a hundred megabytes for each
run would cost more than it shows.
"""

from __future__ import annotations

import time
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from e2e import envoy, image
from e2e.errors import HarnessError
from e2e.mesh import proxy
from e2e.mesh.pair import CLIENT, SECONDS, SERVER, Pair, Side
from e2e.node import network

if TYPE_CHECKING:
    import socket
    from contextlib import ExitStack

    from e2e.node.cluster import NodeCluster

JSON = dict[str, Any]
PORT, ADMIN = 8443, 9901
ANY = "0.0.0.0"  # noqa: S104  in the network of a Pod
PROGRAM = PurePosixPath("/envoy/envoy")
FILES = proxy.Files(PurePosixPath("/leaf"), PurePosixPath("/roots"), PurePosixPath("/own"))


class PodPair(Pair[Side]):
    """Client and server side as Pods."""

    where = "between two Pods"
    cluster: NodeCluster

    def _start(self, stack: ExitStack) -> None:
        serve = proxy.server((ANY, PORT), (ANY, ADMIN), FILES, self.identity(CLIENT))
        self.server = self._launch(stack, SERVER, serve)
        upstream = (self.server.host, PORT)
        call = proxy.client((ANY, PORT), (ANY, ADMIN), FILES, self.identity(SERVER), upstream)
        self.client = self._launch(stack, CLIENT, call)

    def _launch(self, stack: ExitStack, name: str, bootstrap: JSON) -> Side:
        core = f"/api/v1/namespaces/{self.namespace}"
        own = {"metadata": {"name": f"envoy-{name}"}, "data": proxy.config_files(bootstrap, FILES)}
        self.cluster.request("POST", f"{core}/configmaps", own)
        self.cluster.request("POST", f"{core}/pods", self._pod(name))
        stack.callback(self.cluster.request, "DELETE", f"{core}/pods/{self._pod_name(name)}")
        pod = self.cluster.wait(f"{core}/pods/{self._pod_name(name)}", timeout=SECONDS)
        side = Side(name, pod["status"]["podIP"], PORT, ADMIN)
        deadline = time.monotonic() + SECONDS
        while not self.ready(side):
            if time.monotonic() > deadline:
                raise HarnessError("\n".join([f"Envoy of {name} is not ready", *self._log(name)]))
            # A program that starts has nothing to watch yet.
            time.sleep(0.05)
        return side

    def _pod_name(self, name: str) -> str:
        return f"mesh-{name}"

    def _pod(self, name: str) -> JSON:
        program = {"path": str(envoy.install().parent), "type": "Directory"}
        volumes = {
            "/leaf": {"secret": {"secretName": f"{name}-tls"}},
            "/roots": {"configMap": {"name": self.bundle}},
            "/own": {"configMap": {"name": f"envoy-{name}"}},
            "/envoy": {"hostPath": program},
        }
        mounts = [{"name": path[1:], "mountPath": path, "readOnly": True} for path in volumes]
        container = {
            "name": "envoy",
            "image": image.reference(),
            "command": proxy.command(PROGRAM, FILES.own),
            "volumeMounts": mounts,
        }
        return {
            "metadata": {"name": self._pod_name(name)},
            "spec": {
                "serviceAccountName": name,
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 1,
                "containers": [container],
                "volumes": [{"name": path[1:], **source} for path, source in volumes.items()],
            },
        }

    def _reach(self, side: Side, port: int) -> socket.socket:
        return network.connect(self.cluster.sandbox.pid, side.host, port, SECONDS)

    def _log(self, name: str) -> list[str]:
        return self.cluster.pod_logs(self.namespace, self._pod_name(name))
