"""A part of the leader that ends by itself ends the term; nothing goes on half dead."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from meshca.handlers import watches
from meshca.runtime.leader import Leader
from tests.fakes.clock import LoopClock
from tests.fakes.engine import settings

if TYPE_CHECKING:
    import threading

pytestmark = pytest.mark.looptime


class Parts:
    """Stands in for the engine: every part waits for ever, except the one that breaks."""

    def __init__(self, breaks: str) -> None:
        self.breaks = breaks
        self.closed = asyncio.Event()
        self.intake = None
        self.workers = SimpleNamespace(run=lambda _count: self.part("workers"))
        self.queue = SimpleNamespace(close=self.closed.set, depth=self._depth, oldest_age=lambda: 0.0)
        self.store = SimpleNamespace(configurations={})

    async def part(self, name: str) -> None:
        if name == self.breaks:
            await asyncio.sleep(30)
            raise KeyError(name)
        await self.closed.wait()

    def leaf_source(self) -> SimpleNamespace:
        return SimpleNamespace(run=lambda: self.part("leaves"))

    async def first_look(self) -> None:
        return

    async def safety_net(self) -> None:
        await self.part("safety net")

    def _depth(self) -> dict[str, int]:
        if self.breaks == "gauges":
            raise KeyError(self.breaks)
        return {}


@pytest.mark.parametrize("part", ["workers", "safety net", "gauges", "leaves"])
async def test_a_part_that_breaks_ends_the_term(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def watch(_registry: object, stop: threading.Event) -> None:
        while not stop.is_set():  # noqa: ASYNC110  Kopf's own flag is a thread's
            await asyncio.sleep(1)

    def nobody(*_: object) -> None:
        return None

    monkeypatch.setattr(watches, "watch", watch)
    monkeypatch.setattr(watches, "registry_for", nobody)
    telemetry: Any = SimpleNamespace(queue=nobody, leaves=nobody)
    pulse: Any = None
    leader = Leader(settings(), LoopClock(), fence=lambda: 15.0, telemetry=telemetry, pulse=pulse)
    engine: Any = Parts(part)
    with pytest.raises(KeyError, match=part):
        async with asyncio.timeout(120):
            await leader._follow(engine)
