"""The root is replaced under two Envoys in Pods, which get everything from a real kubelet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e import installation
from e2e.mesh import rotation
from e2e.mesh.pair import CLIENT, SERVER
from e2e.mesh.pods import PodPair

if TYPE_CHECKING:
    from e2e.node.cluster import NodeCluster

pytestmark = pytest.mark.node

KUBELET_SECONDS = 60.0
"""How long a kubelet may take to bring a change into a volume."""


@pytest.mark.usefixtures("release")
def test_a_rotation_with_an_early_prune_fails_no_handshake_between_pods(
    node: NodeCluster, place: str
) -> None:
    authority = node.wait(f"{installation.CONFIGURATIONS}/default")
    old = authority["status"]["activeRoot"]
    with PodPair(node, place, authority) as pair:
        before = (pair.serial(CLIENT), pair.serial(SERVER))
        with pair.stream(rate=40) as stream:
            stream.wait(20)
            rotation.begin(node, pair.authority)
            rotated = rotation.follow(node, pair.authority, old)
            assert rotated["status"]["rotation"]["percent"] == 100
            pair.wait_moved(stream, KUBELET_SECONDS)
            rotation.prune_now(node, old)
            new = rotation.certificate(node, rotated["status"]["activeRoot"])
            pair.wait_trust(new, KUBELET_SECONDS)
            stream.wait(40)
        pair.assert_no_failure(stream)
        assert not {*before} & {pair.serial(CLIENT), pair.serial(SERVER)}
