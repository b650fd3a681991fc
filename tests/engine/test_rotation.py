"""Root rotations on the in-process API server, in virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from meshca.api import names
from tests.fakes.engine import with_cluster

if TYPE_CHECKING:
    from tests.fakes.engine import Cluster

pytestmark = pytest.mark.looptime

JSON = dict[str, Any]


def trigger(cluster: Cluster, text: str, **rotation: Any) -> None:
    body = cluster.server.find(names.CA_CONFIGURATION, "default")
    assert body is not None
    spec = dict(body["spec"])
    spec["rotation"] = dict(spec.get("rotation") or {}) | {"trigger": text} | rotation
    cluster.server.merge(names.CA_CONFIGURATION, "default", "", {"spec": spec})


def configuration(cluster: Cluster) -> JSON:
    return cluster.server.find(names.CA_CONFIGURATION, "default") or {}


def turning(cluster: Cluster) -> tuple[str, str]:
    state, reason, _ = cluster.condition("RotationInProgress")
    return state, reason


@with_cluster
async def test_a_changed_trigger_rotates_the_root_and_moves_every_leaf(cluster: Cluster) -> None:
    cluster.leaf("csr", renewal="Automatic")
    cluster.leaf("managed", secretName="managed-tls")
    await cluster.until(lambda: all(cluster.ready(name)[0] == "Issued" for name in ("csr", "managed")))
    first = configuration(cluster)["status"]["activeRoot"]
    trigger(cluster, "one")
    await cluster.until(lambda: turning(cluster) == ("False", "Completed"))
    status = configuration(cluster)["status"]
    assert status["activeRoot"] != first
    assert status["rotation"]["leaves"] == status["rotation"]["reissued"] == 2
    assert {cluster.status(name)["root"] for name in ("csr", "managed")} == {status["activeRoot"]}
    assert len(status["bundle"]["roots"]) == 2
    await asyncio.sleep(5)
    cluster.written()
    await asyncio.sleep(60)
    assert cluster.written() == []
