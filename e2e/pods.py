"""The operator as Pods of any cluster, reached through its API server only.

Decides how a replica is found, ended and asked where nothing but the Kubernetes API is at hand.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

if TYPE_CHECKING:
    from e2e.cluster import Cluster

JSON = dict[str, Any]

STOP_SECONDS = 60.0


class ApiPods:
    """The replicas of one Deployment; a replica is named like its Pod, and a new Pod takes its place."""

    def __init__(self, cluster: Cluster, namespace: str, deployment: str) -> None:
        self._cluster = cluster
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
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
        wanted = int(self._cluster.request("GET", self._deployment)["spec"]["replicas"])
        self._stopped = wanted or self._stopped
        self._scale(0)
        self._cluster.wait_for(lambda pods: not pods, self._selection(), STOP_SECONDS)

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Return once as many Pods as the Deployment wants are of its newest revision and ready.

        A Deployment does not count the Pods on their way out, and hears late of one that is ready no more.
        """
        self._cluster.wait_for(lambda found: any(map(_settled, found)), self._deployment, timeout)
        self._cluster.wait_for(lambda pods: all(map(_lasts, pods)), self._selection(), timeout)

    @property
    def replicas(self) -> list[str]:
        """Return the names of the Pods that are not on their way out."""
        pods = self._cluster.request("GET", self._selection())["items"]
        return sorted(pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"])

    def kill(self, replica: str) -> None:
        """Remove one Pod without any grace; another one takes its place."""
        self._cluster.request("DELETE", f"{self._pods}/{replica}", {"gracePeriodSeconds": 0})

    def restart(self, replica: str) -> None:
        """Remove one Pod cleanly and return once it is gone; another one takes its place."""
        self._cluster.request("DELETE", f"{self._pods}/{replica}")
        self._cluster.wait_for(lambda pods: not pods, f"{self._pods}/{replica}", STOP_SECONDS)

    def logs(self, replica: str) -> list[JSON]:
        """Return the log lines of one Pod; ``{"text": ...}`` for a line that is no JSON."""
        said = self._cluster.kubectl("logs", "--namespace", self._namespace, replica).stdout
        return [parsed(line) for line in said.splitlines() if line]

    def get(self, replica: str, path: str) -> tuple[int, str]:
        """Ask the replica's HTTP server through the API server's proxy; status code and text."""
        answer = self._cluster.exchange("GET", f"{self._pods}/{replica}:http/proxy{path}")
        return answer.status, answer.text

    def _selection(self) -> str:
        labels = self._cluster.request("GET", self._deployment)["spec"]["selector"]["matchLabels"]
        selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        return f"{self._pods}?{urlencode({'labelSelector': selector})}"

    def _scale(self, replicas: int) -> None:
        self._cluster.request("PATCH", self._deployment, {"spec": {"replicas": replicas}})


def _settled(deployment: JSON) -> bool:
    status = deployment.get("status", {})
    counts = {status.get(field, 0) for field in ("updatedReplicas", "readyReplicas", "replicas")}
    seen = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    return bool(seen and counts == {deployment["spec"]["replicas"]})


def _lasts(pod: JSON) -> bool:
    conditions = pod["status"].get("conditions", [])
    ready = any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def parsed(line: str) -> JSON:
    """Return a log line as an object; ``{"text": ...}`` if it is none."""
    try:
        value = json.loads(line)
    except ValueError:
        return {"text": line}
    return value if isinstance(value, dict) else {"text": line}
