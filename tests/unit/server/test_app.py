"""The three pages, over real HTTP on loopback."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest

from meshca.errors import MisconfiguredError
from meshca.server.app import HttpServer
from meshca.server.health import Facts
from meshca.server.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

READY = Facts(leading=True, synced=True, engine_age=0.0, watch_age=0.0, lease_age=0.0)


@asynccontextmanager
async def serving(facts: Facts) -> AsyncIterator[aiohttp.ClientSession]:
    metrics = Metrics()
    metrics.leader(leading=facts.leading)
    server = HttpServer(lambda: facts, metrics.registry)
    host, port = await server.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}") as client:
            yield client
    finally:
        await server.stop()


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_a_sound_replica_says_ok(path: str) -> None:
    async with serving(READY) as client, client.get(path) as answer:
        assert (answer.status, await answer.text()) == (200, "ok\n")


async def test_problems_are_named_with_503() -> None:
    async with serving(Facts(leading=True, engine_age=99.0)) as client:
        async with client.get("/healthz") as answer:
            assert (answer.status, await answer.text()) == (
                503,
                "the engine's event loop has not run for 99 s\n",
            )
        async with client.get("/readyz") as answer:
            assert answer.status == 503
            assert len((await answer.text()).splitlines()) == 3


@pytest.mark.parametrize(
    ("accept", "content_type", "sample"),
    [
        ("", "text/plain", "meshca_leader 1.0"),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text", "# EOF"),
    ],
    ids=["text", "openmetrics"],
)
async def test_metrics_in_the_format_that_is_asked_for(accept: str, content_type: str, sample: str) -> None:
    async with serving(READY) as client, client.get("/metrics", headers={"Accept": accept}) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith(content_type)
        assert sample in await answer.text()


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/", 404), ("POST", "/metrics", 405)])
async def test_nothing_else_is_served(method: str, path: str, status: int) -> None:
    async with serving(READY) as client, client.request(method, path, data=b"x" * 100) as answer:
        assert answer.status == status


async def test_an_address_in_use_is_a_setting_to_repair() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = HttpServer(lambda: READY, Metrics().registry)
        with pytest.raises(MisconfiguredError, match=rf"cannot listen on 127\.0\.0\.1 port {port}: "):
            await server.start("127.0.0.1", port)
