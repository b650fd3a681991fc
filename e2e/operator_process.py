"""The operator as processes of this machine, where there is no kubelet to run its Pods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from e2e.cluster import Cluster


class OperatorProcesses:
    """Runs the replicas of one Deployment."""

    def __init__(self, cluster: Cluster, namespace: str, deployment: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._deployment = deployment
        self._replicas: dict[str, Any] = {}

    @property
    def replicas(self) -> list[str]:
        """Return the names of the replicas that run now."""
        return list(self._replicas)
