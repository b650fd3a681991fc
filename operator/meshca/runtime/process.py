"""One replica of the operator: serves health and metrics, stands for election, leads when elected.

Decides the exit code and what a signal means. The engine runs in a thread with a loop of its own, so
that a busy engine delays neither the Lease nor a probe. Exit codes: 0 after SIGTERM or SIGINT, 1 when the
Lease was lost or a part broke.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

import uvloop

from meshca.clock import SystemClock
from meshca.kube.credentials import in_cluster
from meshca.kube.gateway import Gateway
from meshca.kube.lease import Elector
from meshca.kube.session import Session
from meshca.runtime.leader import Leader
from meshca.server.app import HttpServer
from meshca.server.health import Facts
from meshca.server.metrics import Metrics
from meshca.server.pulse import Pulse

if TYPE_CHECKING:
    from meshca.clock import Clock
    from meshca.config import Settings

_log = logging.getLogger(__name__)
STOPPED = 0
FAILED = 1
STOP_SECONDS = 6.5
"""A stop is over within ten seconds; this leaves two for the Lease and one for the HTTP server."""


def run(settings: Settings) -> int:
    """Run one replica until it is told to stop or cannot go on; return the exit code."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(Process(settings, SystemClock()).run())


class Process:
    """The main loop's parts."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = Metrics()
        self._pulse = Pulse(clock, self._metrics.loop_lag)
        self._leader: Leader | None = None
        self._elector: Elector | None = None
        self._stopping = False

    async def run(self) -> int:
        """Serve, stand for election, lead; return the exit code."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        server = HttpServer(self._facts, self._metrics.registry)
        session = Session(in_cluster(self._settings.token_dir, self._clock), connections=4)
        try:
            await server.start(self._settings.http_host, self._settings.http_port)
            return await self._stand(Gateway(session, on_write=self._metrics.api_write), stop)
        finally:
            await server.stop()
            await session.aclose()

    async def _stand(self, gateway: Gateway, stop: asyncio.Event) -> int:
        elector = self._elector = Elector(
            gateway,
            namespace=self._settings.namespace,
            name=self._settings.lease_name,
            identity=f"{self._settings.pod_name}_{uuid4().hex[:8]}",
            clock=self._clock,
        )
        stopped = asyncio.create_task(stop.wait(), name="signal")
        electing = asyncio.create_task(elector.run(), name="election")
        acquired = asyncio.create_task(elector.acquired.wait(), name="acquired")
        leading: asyncio.Task[None] | None = None
        try:
            await asyncio.wait([stopped, electing, acquired], return_when=asyncio.FIRST_COMPLETED)
            if acquired.done():
                self._metrics.leader(True)
                leading = asyncio.create_task(self._lead(elector), name="leading")
                await asyncio.wait([stopped, electing, leading], return_when=asyncio.FIRST_COMPLETED)
            return self._verdict(stopped, electing, leading)
        finally:
            self._stopping = True
            await self._step_down(leading)
            electing.cancel()
            await asyncio.gather(electing, return_exceptions=True)
            for task in (stopped, acquired):
                task.cancel()
            await asyncio.gather(stopped, acquired, return_exceptions=True)
            await elector.release()
            self._metrics.leader(False)

    def _verdict(
        self, stopped: asyncio.Task[bool], electing: asyncio.Task[None], leading: asyncio.Task[None] | None
    ) -> int:
        if stopped.done():
            _log.info("stopping on a signal")
            return STOPPED
        for task in (electing, leading):
            if task is not None and task.done() and task.exception() is not None:
                _log.error("a part broke", exc_info=task.exception())
                return FAILED
        _log.error("the Lease is lost" if electing.done() else "the engine ended unasked")
        return FAILED

    async def _lead(self, elector: Elector) -> None:
        """Run the engine in its own thread until it ends."""
        leader = self._leader = Leader(
            self._settings,
            self._clock,
            fence=elector.remaining,
            telemetry=self._metrics,
            pulse=self._pulse,
        )
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        threading.Thread(
            target=_engine_thread, args=(leader, asyncio.get_running_loop(), done), name="engine", daemon=True
        ).start()
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError:
            leader.stop()
            raise

    async def _step_down(self, leading: asyncio.Task[None] | None) -> None:
        if self._leader is None or leading is None:
            return
        self._leader.stop()
        done, _ = await asyncio.wait([leading], timeout=STOP_SECONDS)
        if not done:
            _log.error("the engine did not stop in time")
            leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)

    def _facts(self) -> Facts:
        elector, leader = self._elector, self._leader
        return Facts(
            leading=elector is not None and elector.is_leader,
            stopping=self._stopping,
            synced=leader is not None and leader.synced,
            engine_age=self._pulse.age() if leader is not None else None,
            watch_age=leader.watch_age() if leader is not None else None,
            lease_age=elector.age() if elector is not None else None,
        )


def _engine_thread(leader: Leader, loop: asyncio.AbstractEventLoop, done: asyncio.Future[None]) -> None:
    error: BaseException | None = None
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(leader.run())
    except BaseException as caught:  # noqa: BLE001  handed to the main loop, which decides
        error = caught
    loop.call_soon_threadsafe(partial(_finish, done, error))


def _finish(done: asyncio.Future[None], error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
