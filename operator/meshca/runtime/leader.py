"""One term of leading: watch, decide, write, in an event loop and a thread of its own.

Decides the order of starting and stopping: nothing is issued before policy, configurations and what
surrounds them were read once, and a stop lets running writes end. Lives as long as the Lease is held;
never restarts within a process.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import kopf

from meshca.handlers import watches
from meshca.kube.credentials import in_cluster
from meshca.kube.gateway import WRITE_SECONDS, Gateway
from meshca.kube.session import Session
from meshca.runtime.engine import Engine
from meshca.runtime.links import LinkThread

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshca.clock import Clock
    from meshca.config import Settings
    from meshca.engine.telemetry import Telemetry
    from meshca.kube.watch import Reflector
    from meshca.server.pulse import Pulse

GAUGES_EVERY = 15.0


class Leader:
    """One term of leading; ``run`` wants a loop of its own, ``stop`` may be called from anywhere."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        fence: Callable[[], float],
        telemetry: Telemetry,
        pulse: Pulse,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._fence = fence
        self._telemetry = telemetry
        self._pulse = pulse
        self._stop_kopf = threading.Event()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reflectors: list[Reflector] = []
        self._leaves: Reflector | None = None

    def stop(self) -> None:
        """End the term; thread-safe, returns at once."""
        self._stop_kopf.set()
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)

    @property
    def synced(self) -> bool:
        """Return whether every kind was listed once; thread-safe."""
        return self._leaves is not None and self._leaves.synced.is_set()

    def watch_age(self) -> float | None:
        """Return the seconds since the most silent watch gave a sign of life; thread-safe."""
        ages = [self._clock.monotonic() - reflector.last_activity for reflector in self._reflectors]
        return max(ages, default=None)

    async def run(self) -> None:
        """Lead until ``stop`` or until a part breaks."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        if self._stop_kopf.is_set():
            return
        self._pulse.start()
        credentials = in_cluster(self._settings.token_dir, self._clock)
        session = Session(credentials, may_write=lambda: self._fence() >= WRITE_SECONDS)
        try:
            gateway = Gateway(session, self._fence, on_write=self._telemetry.api_write, clock=self._clock)
            await self._lead(gateway)
        finally:
            self._pulse.stop()
            await session.aclose()

    async def _lead(self, gateway: Gateway) -> None:
        engine = Engine(self._settings, self._clock, gateway, self._telemetry)
        links = LinkThread(
            asyncio.get_running_loop(),
            engine.tell_primary,
            fence=self._fence,
            clock=self._clock,
            telemetry=self._telemetry,
        )
        links.start()
        engine.primaries.on_wish = links.wish
        try:
            await self._work(engine)
        finally:
            links.stop()
            await links.stopped()

    async def _work(self, engine: Engine) -> None:
        assert self._stop is not None
        self._reflectors = await engine.sources()
        stopped = asyncio.create_task(self._stop.wait(), name="stop")
        parts = [
            *(asyncio.create_task(reflector.run(), name="reflector") for reflector in self._reflectors),
            asyncio.create_task(engine.recorder.run(), name="events"),
            asyncio.create_task(self._follow(engine), name="engine"),
        ]
        try:
            await asyncio.wait([stopped, *parts], return_when=asyncio.FIRST_COMPLETED)
            for part in parts:
                if part.done():
                    part.result()
        finally:
            await engine.wind_down()
            for task in [stopped, *parts]:
                task.cancel()
            await asyncio.gather(stopped, *parts, return_exceptions=True)

    async def _follow(self, engine: Engine) -> None:
        await asyncio.gather(*(reflector.synced.wait() for reflector in self._reflectors))
        await engine.first_look()
        registry = watches.registry_for(engine.intake, self._login)
        leaves = self._leaves = engine.leaf_source()
        self._reflectors = [*self._reflectors, leaves]
        workers = asyncio.create_task(engine.workers.run(self._settings.workers), name="workers")
        others = (
            asyncio.create_task(watches.watch(registry, self._stop_kopf), name="watches"),
            asyncio.create_task(leaves.run(), name="leaves"),
            asyncio.create_task(self._gauges(engine), name="gauges"),
            asyncio.create_task(engine.safety_net(), name="safety-net"),
        )
        try:
            # None of them ends by itself: a leader that goes on without one is worse than none.
            done, _ = await asyncio.wait([workers, *others], return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
        finally:
            for task in others:
                task.cancel()
            engine.queue.close()
            await asyncio.gather(workers, *others, return_exceptions=True)

    def _login(self) -> kopf.ConnectionInfo:
        found = in_cluster(self._settings.token_dir, self._clock)
        return kopf.ConnectionInfo(
            server=found.server,
            ca_path=str(self._settings.token_dir / "ca.crt"),
            scheme="Bearer",
            token=found.token.current(),
        )

    async def _gauges(self, engine: Engine) -> None:
        while True:
            self._telemetry.queue(engine.queue.depth(), engine.queue.oldest_age())
            for configuration in engine.store.configurations:
                self._telemetry.leaves(configuration, engine.store.leaves.states(configuration))
            await asyncio.sleep(GAUGES_EVERY)
