"""The operator as Pods on the node: what a scenario may do to its replicas beyond the Kubernetes API.

Decides how a replica's process is ended while its Pod stays, and reads logs over restarts; what brings a
process back is the kubelet.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from e2e.errors import HarnessError
from e2e.pods import ApiPods, parsed

if TYPE_CHECKING:
    from e2e.node.cluster import NodeCluster

JSON = dict[str, Any]

AGAIN_SECONDS = 60.0


class OperatorPods(ApiPods):
    """The replicas of one Deployment; a replica is named like its Pod and keeps that name."""

    def __init__(self, cluster: NodeCluster, namespace: str, deployment: str) -> None:
        super().__init__(cluster, namespace, deployment)
        self._node = cluster
        self._where = namespace

    def kill(self, replica: str) -> None:
        """End one replica's process without warning; returns when the kubelet has started it again."""
        self._end(replica, signal.SIGKILL)

    def restart(self, replica: str) -> None:
        """End one replica's process cleanly; returns when the kubelet has started it again."""
        self._end(replica, signal.SIGTERM)

    def logs(self, replica: str) -> list[JSON]:
        """Return the log lines of one Pod over the restarts of its process, as far as they are kept."""
        return [parsed(line) for line in self._node.pod_logs(self._where, replica)]

    def get(self, replica: str, path: str) -> tuple[int, str]:
        """Ask the replica's HTTP server for ``path`` by the Pod's address; status code and text."""
        pod = self._node.request("GET", f"/api/v1/namespaces/{self._where}/pods/{replica}")
        ports = pod["spec"]["containers"][0]["ports"]
        port = next(entry["containerPort"] for entry in ports if entry.get("name") == "http")
        return self._node.ask(pod["status"]["podIP"], port, path)

    def _end(self, replica: str, number: signal.Signals) -> None:
        path = f"/api/v1/namespaces/{self._where}/pods/{replica}"
        before = _running(self._node.request("GET", path))
        if not before:
            raise HarnessError(f"{replica} does not run")
        self._node.signal_container(before, number)

        def again(pods: list[JSON]) -> bool:
            return any(_running(pod) not in {"", before} for pod in pods)

        self._node.wait_for(again, path, AGAIN_SECONDS)


def _running(pod: JSON) -> str:
    """Return the id of the Pod's running container, empty when none runs."""
    for status in pod["status"].get("containerStatuses", []):
        if "running" in status["state"]:
            return str(status["containerID"]).rpartition("/")[2]
    return ""
