"""Kopf, which brings its own client, lists and watches on the fake server as on a real one."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import kopf

from meshca.api.names import LEAF
from tests.fakes.apiserver.http import serve
from tests.fakes.apiserver.server import ApiServer

SECONDS = 20.0


async def test_kopf_lists_watches_and_sees_deletions() -> None:
    server = ApiServer()
    server.create(LEAF, {"metadata": {"name": "before", "namespace": "default"}, "spec": {}})
    heard: asyncio.Queue[tuple[str | None, str]] = asyncio.Queue()
    loop, stop = asyncio.get_running_loop(), threading.Event()
    registry = kopf.OperatorRegistry()

    def handler(event: Any, **_: Any) -> None:
        found = (event["type"], event["object"]["metadata"]["name"])
        loop.call_soon_threadsafe(heard.put_nowait, found)

    async with serve(server) as url:
        kopf.on.login(registry=registry)(lambda **_: kopf.ConnectionInfo(server=url))
        kopf.on.event(LEAF.group, LEAF.version, LEAF.plural, registry=registry)(handler)
        settings = kopf.OperatorSettings()
        settings.scanning.disabled = True
        thread = threading.Thread(
            target=lambda: asyncio.run(
                kopf.operator(
                    registry=registry, settings=settings, standalone=True, clusterwide=True, stop_flag=stop
                )
            )
        )
        thread.start()
        try:
            async with asyncio.timeout(SECONDS):
                assert await heard.get() == (None, "before")
                server.create(LEAF, {"metadata": {"name": "after", "namespace": "default"}, "spec": {}})
                assert await heard.get() == ("ADDED", "after")
                server.delete(LEAF, "before", "default")
                assert await heard.get() == ("DELETED", "before")
        finally:
            stop.set()
            await asyncio.to_thread(thread.join)
    assert server.audit == [], "an event handler makes Kopf write nothing"
