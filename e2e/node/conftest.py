"""Fixtures of the scenarios that need a kubelet, whatever ``CLUSTER`` says for the others."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from e2e import flavours, installation
from e2e.errors import CannotRunError
from e2e.node.cluster import NodeCluster
from e2e.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Iterator

LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{installation.NAMESPACE}/leases/{installation.RELEASE}"
WAIT = ("--wait", "--timeout=120s")


def made(name: str) -> NodeCluster:
    """Return a node cluster, not yet started; skips the test where this machine cannot run one."""
    try:
        cluster = flavours.make("node", name)
    except CannotRunError as error:
        pytest.skip(str(error))
    assert isinstance(cluster, NodeCluster)
    return cluster


@pytest.fixture(scope="session")
def node() -> Iterator[NodeCluster]:
    """Return the node cluster of this run, started once."""
    with made("node") as cluster, Witness(cluster):
        yield cluster


def helm(cluster: NodeCluster, command: str, *arguments: str) -> str:
    """Run a Helm command on the release and return what it printed."""
    place = ("--namespace", installation.NAMESPACE)
    return cluster.helm(command, installation.RELEASE, *arguments, *place).stdout


def install(cluster: NodeCluster) -> None:
    """Install the chart and return when every Pod is ready."""
    values = ("--set", "managedKeys.namespaces={*}")
    helm(cluster, "install", str(installation.CHART), "--create-namespace", *values, *WAIT)
    installation.wait_served(cluster)


def settle(cluster: NodeCluster) -> None:
    """Return once a release, if there is one, works again after its servers were away."""
    installation.wait_filled(cluster)
    if not installation.exists(cluster, LEASE):
        return
    back = datetime.now(UTC)

    def led(leases: list[dict[str, Any]]) -> bool:
        return any(
            lease["spec"]["holderIdentity"] and datetime.fromisoformat(lease["spec"]["renewTime"]) > back
            for lease in leases
        )

    cluster.wait_for(led, LEASE)


@pytest.fixture(scope="session")
def release(node: NodeCluster) -> Iterator[installation.Installation]:
    """Return the chart, installed by ``helm install --wait``, with a Ready configuration."""
    install(node)
    installation.configure(node, installation.DEFAULT)
    yield installation.Installation(node, node.operator(), installation.NAMESPACE, installation.RELEASE)
    helm(node, "uninstall", "--wait")


@pytest.fixture
def place(node: NodeCluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """Return a namespace of the test's own."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:40].rstrip("-")
    node.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    node.wait_for(bool, f"/api/v1/namespaces/{name}/serviceaccounts/default")
    yield name
    node.request("DELETE", f"/api/v1/namespaces/{name}")
