"""A reflector of Secrets that remembers what its handler was told."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from meshca.api.names import SECRET
from meshca.kube.backoff import Backoff
from meshca.kube.gateway import Gateway
from meshca.kube.watch import Reflector
from tests.fakes.apiserver.transport import FakeTransport
from tests.fakes.clock import LoopClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from meshca.kube.answers import WatchEvent
    from tests.fakes.apiserver.server import ApiServer

JSON = dict[str, Any]
NS = "default"


class Heard:
    """A reflector of Secrets and what its handler was told."""

    def __init__(self, server: ApiServer, **more: Any) -> None:
        self.events: list[tuple[str, str]] = []
        self.objects: dict[str, JSON] = {}
        self.deleted: list[JSON] = []
        self.reflector = Reflector(
            Gateway(FakeTransport(server)),
            SECRET,
            handler=self._handle,
            clock=LoopClock(),
            backoff=Backoff(0.5, 30.0, random.Random(7)),
            **more,
        )

    def _handle(self, event: WatchEvent) -> None:
        name = event.object["metadata"]["name"]
        self.events.append((event.type, name))
        if event.type == "DELETED":
            self.deleted.append(event.object)
            del self.objects[name]
        else:
            assert (event.type == "ADDED") == (name not in self.objects), "ADDED exactly once"
            self.objects[name] = event.object

    def take(self) -> list[tuple[str, str]]:
        found, self.events = self.events, []
        return found


@asynccontextmanager
async def running(heard: Heard) -> AsyncIterator[Heard]:
    task = asyncio.create_task(heard.reflector.run())
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def secret(server: ApiServer, name: str, **labels: str) -> JSON:
    return server.create(SECRET, {"metadata": {"name": name, "namespace": NS, "labels": labels}})


def touch(server: ApiServer, name: str) -> None:
    server.merge(SECRET, name, NS, {"metadata": {"annotations": {"n": str(server.store.version)}}})
