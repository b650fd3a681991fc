"""Stands in for Kopf in virtual time, with what Kopf does and does not promise.

As Kopf: events of one object in order, of different objects in any; a burst of one object told by its last
event only; a listed object without an event type; what vanished while no watch was open is never told.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.errors import GoneError, MeshCAError

if TYPE_CHECKING:
    import random
    import threading
    from collections.abc import Callable, Mapping

    from meshca.engine.intake import Intake
    from meshca.kube.gateway import Gateway

    Take = Callable[[str, Mapping[str, Any]], None]

JSON = dict[str, Any]
PAUSES = (0.1, 1.0, 2.0, 4.0)


class KopfLike:
    """Has the two functions of ``meshca.handlers.watches`` that the leader calls."""

    def __init__(self, connect: Callable[[], Gateway], rng: Callable[[], random.Random]) -> None:
        self._connect = connect
        self._rng = rng

    def registry_for(self, intake: Intake, _login: object) -> list[_Watched]:
        gateway, rng = self._connect(), self._rng()
        takers = (
            (names.CA_CONFIGURATION, intake.configuration),
            (names.CA_ROOT, intake.root),
            (names.FEDERATED_CLUSTER, intake.federation.cluster),
            (names.INTERMEDIATE, intake.federation.request),
        )
        return [_Watched(gateway, resource, take, rng) for resource, take in takers]

    async def watch(self, registry: list[_Watched], _stop: threading.Event) -> None:
        async with asyncio.TaskGroup() as group:
            for watched in registry:
                group.create_task(watched.run())


class _Watched:
    """One kind."""

    def __init__(
        self,
        gateway: Gateway,
        resource: names.Resource,
        take: Take,
        rng: random.Random,
    ) -> None:
        self._gateway = gateway
        self._resource = resource
        self._take = take
        self._rng = rng
        self._pending: dict[str, tuple[str, JSON]] = {}

    async def run(self) -> None:
        failures = 0
        version = ""
        while True:
            try:
                if not version:
                    version = await self._list()
                version = await self._watch(version)
                failures = 0
            except GoneError:
                version = ""
            except MeshCAError:
                failures = min(failures + 1, len(PAUSES) - 1)
            await asyncio.sleep(PAUSES[failures])

    async def _list(self) -> str:
        version = ""
        async with aclosing(self._gateway.pages(self._resource)) as pages:
            async for page in pages:
                version = page.resource_version
                for item in page.items:
                    self._tell("", item)
        return version

    async def _watch(self, version: str) -> str:
        try:
            async with (
                asyncio.timeout(70.0),
                aclosing(self._gateway.watch(self._resource, resource_version=version)) as events,
            ):
                async for event in events:
                    version = event.object["metadata"]["resourceVersion"]
                    if event.type != "BOOKMARK":
                        self._tell(event.type, event.object)
        except TimeoutError:
            pass  # silent, or merely old: go on from where it was
        return version

    def _tell(self, kind: str, item: JSON) -> None:
        uid = item["metadata"]["uid"]
        waiting = uid in self._pending
        self._pending[uid] = (kind, item)
        if not waiting:
            delay = self._rng.choice((0.0, 0.0, 0.0, 0.01, 0.1))
            asyncio.get_running_loop().call_later(delay, self._deliver, uid)

    def _deliver(self, uid: str) -> None:
        self._take(*self._pending.pop(uid))
