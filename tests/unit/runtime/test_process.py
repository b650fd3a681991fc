"""One whole replica, Kopf and threads included, against the in-process API server over TLS on loopback."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import pytest
import trustme
from aiohttp import web

from meshca.api import names
from meshca.clock import SystemClock
from meshca.kube.gateway import Gateway
from meshca.runtime.process import FAILED, STOPPED, Process
from tests.fakes import engine
from tests.fakes.apiserver.http import application
from tests.fakes.apiserver.transport import FakeTransport

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.fakes.apiserver.server import ApiServer
    from tests.fakes.clock import LoopClock

# Cancelled in mid-air, Kopf leaves its session to the end of the process.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

JSON = dict[str, Any]
TOKEN = "a-token"
LIMIT = 20.0


class YesterdayClock(SystemClock):
    """The machine's clock, at first a day behind."""

    behind = timedelta(days=1)

    def now(self) -> datetime:
        return super().now() - self.behind


@asynccontextmanager
async def served(server: ApiServer, tls: ssl.SSLContext) -> AsyncIterator[int]:
    """Serve the API on a free loopback port over TLS; yields the port."""
    runner = web.AppRunner(
        application(server, {TOKEN: engine.OPERATOR}), shutdown_timeout=0.1, handler_cancellation=True
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield runner.addresses[0][1]
    finally:
        server.cut_watches()
        await runner.cleanup()


@pytest.fixture
async def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[engine.Cluster]:
    """Return a cluster as a Pod sees it: address in the environment, token and CA in files."""
    clock = YesterdayClock()
    made = engine.Cluster(clock=cast("LoopClock", clock))
    # Older than the half minute in which a fresh policy is not relied on.
    made.policy()
    clock.behind = timedelta()
    made.configure()
    authority = trustme.CA()
    tls = trustme_context(authority)
    (tmp_path / "token").write_text(TOKEN)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    async with served(made.server, tls) as port:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port))
        yield made


def trustme_context(authority: trustme.CA) -> ssl.SSLContext:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


async def seen(
    server: ApiServer, resource: names.Resource, met: Callable[[JSON], bool], namespace: str = ""
) -> JSON:
    """Watch until an object is as wanted."""
    gateway = Gateway(FakeTransport(server))
    async with asyncio.timeout(LIMIT):
        pages = [page async for page in gateway.pages(resource, namespace)]
        for item in (item for page in pages for item in page.items):
            if met(item):
                return item
        version = pages[-1].resource_version
        async with aclosing(gateway.watch(resource, namespace, resource_version=version)) as events:
            async for event in events:
                if event.type != "BOOKMARK" and met(event.object):
                    return event.object
    raise AssertionError("the watch ended")


@asynccontextmanager
async def replica(tmp_path: Path, port: int) -> AsyncIterator[asyncio.Task[int]]:
    """Run a replica; one that a failing test leaves behind is stopped like any other."""
    chosen = engine.settings(token_dir=tmp_path, http_port=port)
    running = asyncio.create_task(Process(chosen, SystemClock()).run())
    try:
        yield running
    finally:
        if not running.done():
            await stop(running)
        # A process would be gone now; here, what Kopf left open is to be found by nobody else.
        gc.collect()


async def stop(running: asyncio.Task[int]) -> int:
    """Send SIGTERM and return the exit code, which a kubelet waits for."""
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(10):
        return await running


async def probe(port: int, path: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status


def has_active_root(body: JSON) -> bool:
    return bool(body.get("status", {}).get("activeRoot"))


def is_issued(body: JSON) -> bool:
    return bool(body.get("status", {}).get("state") == "Issued")


def holder(body: JSON) -> str:
    return str(body.get("spec", {}).get("holderIdentity") or "")


@pytest.fixture
def port(unused_tcp_port: int) -> int:
    return unused_tcp_port


async def test_a_replica_leads_makes_the_ca_and_stops_cleanly_on_sigterm(
    cluster: engine.Cluster, tmp_path: Path, port: int
) -> None:
    async with replica(tmp_path, port) as running:
        await seen(cluster.server, names.CA_CONFIGURATION, has_active_root)
        cluster.leaf()
        issued = await seen(cluster.server, names.LEAF, is_issued, "shop")
        assert issued["status"]["spiffeID"] == "spiffe://example.org/ns/shop/sa/web"
        assert await probe(port, "/healthz") == 200
        assert await probe(port, "/readyz") == 200
        assert await stop(running) == STOPPED
    (lease,) = cluster.server.all(names.LEASE, engine.NAMESPACE)
    assert holder(lease) == ""


async def test_kopf_writes_nothing(cluster: engine.Cluster, tmp_path: Path, port: int) -> None:
    cluster.leaf()
    async with replica(tmp_path, port):
        await seen(cluster.server, names.LEAF, is_issued, "shop")
    written = cluster.server.writes(names.LEAF, user=engine.OPERATOR)
    assert [(entry.info.verb, entry.info.subresource) for entry in written] == [("update", "status")]
    (leaf,) = cluster.server.all(names.LEAF, "shop")
    assert not leaf["metadata"].get("annotations")
    assert not leaf["metadata"].get("finalizers")


async def test_a_replica_that_loses_its_lease_ends_with_a_failure(
    cluster: engine.Cluster, tmp_path: Path, port: int
) -> None:
    async with replica(tmp_path, port) as running:
        await seen(cluster.server, names.CA_CONFIGURATION, has_active_root)
        stolen = {"spec": {"holderIdentity": "somebody-else"}}
        cluster.server.merge(names.LEASE, "meshca", engine.NAMESPACE, stolen)
        async with asyncio.timeout(LIMIT):
            assert await running == FAILED
    (lease,) = cluster.server.all(names.LEASE, engine.NAMESPACE)
    assert holder(lease) == "somebody-else"


async def test_a_standby_stops_without_ever_having_led(
    cluster: engine.Cluster, tmp_path: Path, port: int
) -> None:
    now = SystemClock().now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    held = {"holderIdentity": "another", "leaseDurationSeconds": 3600, "renewTime": now}
    lease = {"metadata": {"name": "meshca", "namespace": engine.NAMESPACE}, "spec": held}
    cluster.server.create(names.LEASE, lease)
    async with replica(tmp_path, port) as running:
        await until_ready(port)
        assert await stop(running) == STOPPED
    assert cluster.server.writes(user=engine.OPERATOR) == []


async def until_ready(port: int) -> None:
    """Ask as often as a kubelet would, only faster."""
    for _ in range(2000):
        try:
            if await probe(port, "/readyz") == 200:
                return
        except aiohttp.ClientError:
            continue
    raise AssertionError("never ready")
