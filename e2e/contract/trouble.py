"""The real API server in trouble: with too many requests of one user, and without its storage."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from meshca.api.names import Resource
from meshca.kube.credentials import from_kubeconfig
from meshca.kube.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.cluster import Cluster
    from e2e.controlplane import ControlPlane
    from meshca.kube.credentials import Credentials
    from meshca.kube.gateway import Gateway

CROWD = "contract-crowd"
WAIT_SECONDS = 30.0
_GROUP = "flowcontrol.apiserver.k8s.io"
_LEVEL = Resource(_GROUP, "v1", "prioritylevelconfigurations", "PriorityLevelConfiguration", namespaced=False)
_BINDING = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", namespaced=True)
_SCHEMA = Resource(_GROUP, "v1", "flowschemas", "FlowSchema", namespaced=False)
# No seats still let a request or two in at a time.
_LIMITED = {
    "nominalConcurrencyShares": 0,
    "lendablePercent": 0,
    "borrowingLimitPercent": 0,
    "limitResponse": {"type": "Reject"},
}


async def dial(credentials: Credentials) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection to the API server on which nothing was sent."""
    address = urlsplit(credentials.server)
    return await asyncio.open_connection(
        address.hostname, address.port or 443, ssl=credentials.tls, limit=2**20
    )


@asynccontextmanager
async def crowded(cluster: Cluster, gateway: Gateway, namespace: str) -> AsyncIterator[Session]:
    """Yield a session of a user whose few seats are taken by requests that never end."""
    file = await asyncio.to_thread(cluster.identity, CROWD)
    credentials = await from_kubeconfig(file)
    # Who may not write at all is told so before the body is read.
    await gateway.create(_BINDING, _binding(namespace))
    level = await gateway.create(_LEVEL, {"metadata": {"name": CROWD}, "spec": _level()})
    schema = await gateway.create(_SCHEMA, {"metadata": {"name": CROWD}, "spec": _schema()})
    session = Session(credentials)
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    held: list[asyncio.StreamWriter] = []
    try:
        await _until(session, path, 200, level["metadata"]["uid"])
        async with asyncio.timeout(WAIT_SECONDS):
            while (await session.request("GET", path, timeout=5)).status != 429:
                held.append(await _hold(credentials, path))
        yield session
    finally:
        for writer in held:
            writer.transport.abort()
        await session.aclose()
        for resource, made in ((_SCHEMA, schema), (_LEVEL, level)):
            await gateway.delete(resource, CROWD, uid=made["metadata"]["uid"])


async def _hold(credentials: Credentials, path: str) -> asyncio.StreamWriter:
    """Keep a seat by a body that is never whole."""
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: contract",
        "Content-Type: application/json",
        "Content-Length: 99",
    )
    _, writer = await dial(credentials)
    writer.write("\r\n".join([*lines, "", "{"]).encode())
    await writer.drain()
    return writer


@asynccontextmanager
async def hung(cluster: ControlPlane) -> AsyncIterator[None]:
    """Stop etcd as a machine that stalls would."""
    cluster.signal_etcd(signal.SIGSTOP)
    try:
        yield
    finally:
        cluster.signal_etcd(signal.SIGCONT)


async def _until(session: Session, path: str, status: int, level: str) -> None:
    """Ask until an answer has a status, and is of a priority level."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            answer = await session.request("GET", path, timeout=5)
            found = answer.status, answer.headers.get("x-kubernetes-pf-prioritylevel-uid")
            if found == (status, level):
                return
            await asyncio.sleep(0.05)


def _binding(namespace: str) -> dict[str, Any]:
    return {
        "metadata": {"name": CROWD, "namespace": namespace},
        "roleRef": {"apiGroup": _BINDING.group, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": _BINDING.group, "kind": "User", "name": CROWD}],
    }


def _level() -> dict[str, Any]:
    return {"type": "Limited", "limited": _LIMITED}


def _schema() -> dict[str, Any]:
    rule = {
        "subjects": [{"kind": "User", "user": {"name": CROWD}}],
        "resourceRules": [
            {
                "apiGroups": ["*"],
                "resources": ["*"],
                "verbs": ["*"],
                "namespaces": ["*"],
                "clusterScope": True,
            }
        ],
    }
    return {"priorityLevelConfiguration": {"name": CROWD}, "matchingPrecedence": 2, "rules": [rule]}
