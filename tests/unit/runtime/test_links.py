"""Links to primaries in their own thread, over TLS on loopback."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from aiohttp import web

from meshca.api import names
from meshca.clock import SystemClock
from meshca.errors import MisconfiguredError
from meshca.kube.credentials import FixedToken
from meshca.planning.joining import Join, read_join
from meshca.planning.primary import PrimaryView, PrimaryWish
from meshca.runtime.links import LinkThread, connect
from tests.fakes import engine
from tests.fakes.apiserver.http import application
from tests.fakes.apiserver.server import ApiServer
from tests.fakes.telemetry import Tally

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

JSON = dict[str, Any]
TOKEN = "a-token"
LIMIT = 20.0


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def served(server: ApiServer, authority: trustme.CA) -> AsyncIterator[str]:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    app = application(server, {TOKEN: "system:serviceaccount:meshca-fed-west:meshca"})
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        server.cut_watches()
        await runner.cleanup()


def join(server: str, authority: trustme.CA, token: str = TOKEN) -> Join:
    config = {
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "meshca-fed-west"}}],
        "clusters": [
            {
                "name": "c",
                "cluster": {
                    "server": server,
                    "certificate-authority-data": base64.b64encode(authority.cert_pem.bytes()).decode(),
                },
            }
        ],
        "users": [{"name": "u", "user": {"token": token}}],
    }
    text = base64.b64encode(json.dumps(config).encode()).decode()
    return read_join({"metadata": {"name": "join"}, "data": {"kubeconfig": text}})


def wish(joined: Join) -> PrimaryWish:
    return PrimaryWish(joined, "default", "west", "reporter")


class Desk:
    """Where the views of a thread arrive: in the loop of the test."""

    def __init__(self) -> None:
        self.views: list[PrimaryView] = []
        self.news = asyncio.Event()
        self.tally = Tally()
        self.threads = LinkThread(
            asyncio.get_running_loop(),
            self._take,
            fence=lambda: math.inf,
            clock=SystemClock(),
            telemetry=self.tally,
        )

    def _take(self, configuration: str, view: PrimaryView) -> None:
        assert configuration == "default"
        self.views.append(view)
        self.news.set()

    async def until(self, holds: Any) -> PrimaryView:
        async with asyncio.timeout(LIMIT):
            while not self.views or not holds(self.views[-1]):
                self.news.clear()
                await self.news.wait()
        return self.views[-1]


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    made.threads.start()
    try:
        yield made
    finally:
        made.threads.stop()
        await made.threads.stopped()
        assert not made.threads._thread.is_alive()


def primary() -> ApiServer:
    server = ApiServer()
    server.register(*engine.crd_kinds())
    server.create(names.NAMESPACE, {"metadata": {"name": "meshca-fed-west"}})
    return server


async def test_what_the_primary_shows_arrives_and_what_is_gone_is_forgotten(authority: trustme.CA) -> None:
    server = primary()
    async with served(server, authority) as url, desk() as made:
        made.threads.wish("default", wish(join(url, authority)))
        view = await made.until(lambda view: "no such CAConfiguration" in view.waits)
        assert view.trouble is None
        server.create(names.CA_CONFIGURATION, {"metadata": {"name": "default"}, "spec": {}})
        view = await made.until(lambda view: "is not ready yet" in view.waits)
        assert view.source == wish(join(url, authority)).source
        view = await made.until(lambda view: view.registered is False)
        assert made.tally.primaries
        made.threads.wish("default", None)
        for _ in range(1000):
            if not made.tally.primaries:
                break
            await asyncio.sleep(LIMIT / 1000)
        assert made.tally.primaries == {}


async def test_a_server_with_another_certificate_is_told(authority: trustme.CA) -> None:
    async with served(primary(), trustme.CA()) as url, desk() as made:
        made.threads.wish("default", wish(join(url, authority)))
        view = await made.until(lambda view: view.trouble is not None)
        assert view.trouble is not None
        assert view.trouble.reason == "PrimaryUnreachable"
        assert "vouch for" in view.trouble.message


async def test_a_token_that_does_not_count_is_told_and_one_that_does_heals_it(authority: trustme.CA) -> None:
    async with served(primary(), authority) as url, desk() as made:
        made.threads.wish("default", wish(join(url, authority, "wrong")))
        view = await made.until(lambda view: view.trouble is not None)
        assert view.trouble is not None
        assert view.trouble.reason == "PrimaryRefuses"
        made.threads.wish("default", wish(join(url, authority)))
        await made.until(lambda view: view.trouble is None and "no such" in view.waits)


async def test_another_primary_is_another_link(authority: trustme.CA) -> None:
    async with served(primary(), authority) as one, served(primary(), authority) as two, desk() as made:
        for url in (one, two):
            made.threads.wish("default", wish(join(url, authority)))
            await made.until(lambda view, url=url: view.source.startswith(url) and bool(view.waits))


async def test_a_link_that_cannot_even_be_opened_is_told(authority: trustme.CA) -> None:
    broken = join("https://127.0.0.1:1", authority)
    object.__setattr__(broken, "authority", "no PEM")
    with pytest.raises(MisconfiguredError, match="CA certificates of the join Secret"):
        connect(broken, FixedToken())
    async with desk() as made:
        made.threads.wish("default", wish(broken))
        view = await made.until(lambda view: view.trouble is not None)
        assert view.trouble is not None
        assert "CA certificates of the join Secret" in view.trouble.message


async def test_nothing_happens_before_the_start_and_after_the_end(authority: trustme.CA) -> None:
    made = Desk()
    made.threads.wish("default", wish(join("https://127.0.0.1:1", authority)))
    made.threads.stop()
    made.threads.start()
    made.threads.stop()
    await made.threads.stopped()
    made.threads.wish("default", wish(join("https://127.0.0.1:1", authority)))
    made.threads.stop()
    assert made.views == []
