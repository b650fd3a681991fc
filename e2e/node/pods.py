"""The operator as Pods: what a scenario may do to its replicas where a kubelet runs them.

Decides how a replica is found, ended and asked; what brings it back is the kubelet.
"""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

from e2e.errors import HarnessError

if TYPE_CHECKING:
    from e2e.node.cluster import NodeCluster

JSON = dict[str, Any]

STOP_SECONDS = 60.0


class OperatorPods:
    """Handles the replicas of one Deployment; a replica is named like its Pod."""

    def __init__(self, cluster: NodeCluster, namespace: str, deployment: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._deployment = f"/apis/apps/v1/namespaces/{namespace}/deployments/{deployment}"
        self._stopped: int | None = None

    def start(self) -> None:
        """Scale back to what it was before ``stop``; otherwise the kubelet has started everything."""
        if self._stopped is not None:
            self._scale(self._stopped)
            self._stopped = None

    def stop(self) -> None:
        """Scale to nothing and return when no Pod is left."""
        replicas = int(self._object()["spec"]["replicas"])
        if replicas:
            self._stopped = replicas
        self._scale(0)
        self._cluster.wait_for(lambda pods: not pods, self._pods_path(), STOP_SECONDS)

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Return once as many Pods as the Deployment wants are of its newest revision and ready."""

        def settled(deployments: list[JSON]) -> bool:
            return any(_settled(deployment) for deployment in deployments)

        self._cluster.wait_for(settled, self._deployment, timeout)

    @property
    def replicas(self) -> list[str]:
        """Return the names of the Pods that are not on their way out."""
        pods = self._cluster.request("GET", self._pods_path())["items"]
        return sorted(pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"])

    def kill(self, replica: str) -> None:
        """End one replica's process without warning; the kubelet starts it again in the same Pod."""
        self._end(replica, signal.SIGKILL)

    def restart(self, replica: str) -> None:
        """End one replica's process cleanly; returns when the kubelet has started it again."""
        self._end(replica, signal.SIGTERM)

    def logs(self, replica: str) -> list[JSON]:
        """Return the replica's log lines, parsed; lines that are no JSON come as ``{"message": text}``."""
        return [_parsed(line) for line in self._cluster.pod_logs(self._namespace, replica)]

    def get(self, replica: str, path: str) -> tuple[int, str]:
        """Ask the replica's HTTP server for ``path``; status code and text."""
        pod = self._pod(replica)
        ports = pod["spec"]["containers"][0]["ports"]
        port = next(entry["containerPort"] for entry in ports if entry.get("name") == "http")
        return self._cluster.ask(pod["status"]["podIP"], port, path)

    def _object(self) -> JSON:
        return self._cluster.request("GET", self._deployment)

    def _pods_path(self) -> str:
        labels = self._object()["spec"]["selector"]["matchLabels"]
        selector = ",".join(f"{key}%3D{value}" for key, value in sorted(labels.items()))
        return f"/api/v1/namespaces/{self._namespace}/pods?labelSelector={selector}"

    def _pod_path(self, replica: str) -> str:
        return f"/api/v1/namespaces/{self._namespace}/pods/{replica}"

    def _pod(self, replica: str) -> JSON:
        return self._cluster.request("GET", self._pod_path(replica))

    def _scale(self, replicas: int) -> None:
        self._cluster.request("PATCH", self._deployment, {"spec": {"replicas": replicas}})

    def _end(self, replica: str, number: signal.Signals) -> None:
        before = _running(self._pod(replica))
        if not before:
            raise HarnessError(f"{replica} does not run")
        self._cluster.signal_container(before, number)

        def again(pods: list[JSON]) -> bool:
            return any(_running(pod) not in {"", before} for pod in pods)

        self._cluster.wait_for(again, self._pod_path(replica), STOP_SECONDS)


def _running(pod: JSON) -> str:
    """Return the id of the Pod's running container, empty when none runs."""
    for status in pod["status"].get("containerStatuses", []):
        if "running" in status["state"]:
            return str(status["containerID"]).rpartition("/")[2]
    return ""


def _settled(deployment: JSON) -> bool:
    status = deployment["status"]
    counts = {status.get(field, 0) for field in ("updatedReplicas", "readyReplicas", "replicas")}
    seen = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    return bool(seen and counts == {deployment["spec"]["replicas"]})


def _parsed(line: str) -> JSON:
    try:
        value = json.loads(line)
    except ValueError:
        return {"message": line}
    return value if isinstance(value, dict) else {"message": line}
