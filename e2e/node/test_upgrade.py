"""From the last release to this tree and back, with live leaves, in real Pods: nothing of the CA changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from e2e import image, installation, released, workload
from e2e.errors import CannotRunError
from e2e.node.cluster import NodeCluster
from e2e.node.conftest import WAIT, helm
from e2e.node.test_chart_node import DEPLOYMENT, Issuing, ca
from e2e.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.node

JSON = dict[str, Any]
PLACE = "shop"
VALUES = ("--set", "managedKeys.namespaces={*}")
GAP_SECONDS = 45.0
"""Where an upgrade changes the admission policy nothing is signed until the version it belongs to leads."""


@pytest.fixture(scope="module")
def old() -> Path:
    """Return the tree of the last release."""
    try:
        return released.tree()
    except CannotRunError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def node(old: Path) -> Iterator[NodeCluster]:
    """Return a cluster of its own in which the last release runs, with a Ready CA."""
    try:
        images = [image.operator(image.Source(old)), image.operator()]
        made = NodeCluster("upgrade", images=images)
    except CannotRunError as error:
        pytest.skip(str(error))
    with made as cluster, Witness(cluster):
        helm(cluster, "install", str(old / "charts" / "meshca"), "--create-namespace", *VALUES, *WAIT)
        installation.wait_served(cluster)
        installation.configure(cluster, installation.DEFAULT)
        cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": PLACE}})
        cluster.wait_for(bool, f"/api/v1/namespaces/{PLACE}/serviceaccounts/default")
        yield cluster


def populate(cluster: NodeCluster) -> dict[str, JSON]:
    """Make leaves of each kind and return their status once they are issued."""
    for number in range(3):
        csr = workload.csr().pem
        workload.create(cluster, workload.leaf(PLACE, f"manual-{number}", request=csr))
        again = workload.leaf(PLACE, f"automatic-{number}", request=csr, renewal="Automatic")
        workload.create(cluster, again)
        name = f"managed-{number}"
        workload.create(cluster, workload.leaf(PLACE, name, secretName=f"{name}-tls"))
    names = [f"{kind}-{number}" for kind in ("manual", "automatic", "managed") for number in range(3)]
    return {name: workload.wait_reason(cluster, PLACE, name, "Issued")["status"] for name in names}


def keys(cluster: NodeCluster) -> dict[str, JSON]:
    """Return what the managed Secrets hold."""
    found = cluster.request("GET", f"/api/v1/namespaces/{PLACE}/secrets")["items"]
    return {item["metadata"]["name"]: item["data"] for item in found if item["type"] == "kubernetes.io/tls"}


def chains(cluster: NodeCluster, names: list[str]) -> dict[str, str]:
    """Return the certificates that leaves show."""
    found = {name: cluster.request("GET", workload.path(PLACE, name)) for name in names}
    return {name: item["status"]["certificateChain"] for name, item in found.items()}


def runs(cluster: NodeCluster) -> str:
    """Return the image that every Pod of the Deployment was made from."""
    deployment = cluster.request("GET", DEPLOYMENT)
    status = deployment["status"]
    assert status["replicas"] == status["updatedReplicas"] == status["readyReplicas"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return str(container["image"])


def test_an_upgrade_from_the_last_release_and_its_rollback_touch_no_certificate(
    node: NodeCluster, old: Path
) -> None:
    before, leaves = ca(node), populate(node)
    assert len(before) == 3, "a root, its key and a signer"
    secrets, mark = keys(node), node.audit_mark()
    assert runs(node) == image.Source(old).reference
    with Issuing(node, PLACE) as issuing:
        helm(node, "upgrade", str(installation.CHART), *VALUES, *WAIT)
        installation.wait_served(node)
        assert runs(node) == image.reference() != image.Source(old).reference
        node.wait(f"{installation.CONFIGURATIONS}/default")
        later = len(issuing.seconds)
        helm(node, "rollback", *WAIT)
        assert runs(node) == image.Source(old).reference
        node.wait(f"{installation.CONFIGURATIONS}/default")
    assert issuing.failed == []
    assert 0 < later < len(issuing.seconds), "both versions issued"
    assert max(issuing.seconds) < GAP_SECONDS
    assert ca(node) == before
    assert keys(node) == secrets
    assert chains(node, list(leaves)) == {name: leaf["certificateChain"] for name, leaf in leaves.items()}
    touched = {
        (event.verb, event.resource, event.name)
        for event in node.audit(mark)
        if event.verb in {"create", "delete"} and event.resource in {"caroots", "secrets"}
    }
    assert {entry for entry in touched if not entry[2].startswith("sh.helm.release.")} == set()
