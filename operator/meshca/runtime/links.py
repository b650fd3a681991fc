"""All links to primaries, and the thread with the event loop that they have for themselves.

Decides when a link is made and ended; never what it says. Nothing in here can stop the engine: views and
wishes cross between the two loops as messages, and neither ever waits for the other.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from typing import TYPE_CHECKING, Final

import uvloop

from meshca.errors import MisconfiguredError
from meshca.kube.credentials import Credentials
from meshca.kube.session import Session
from meshca.runtime.link import PrimaryLink

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshca.clock import Clock
    from meshca.engine.telemetry import Telemetry
    from meshca.kube.credentials import FixedToken
    from meshca.planning.joining import Join
    from meshca.planning.primary import PrimaryView, PrimaryWish
    from meshca.runtime.link import Connect

_log = logging.getLogger(__name__)
CONNECTIONS: Final = 4
MOST_BYTES: Final = 16 * 1024 * 1024
"""The largest answer that is read: a primary's objects are small, and it may be a liar."""
STOP_SECONDS: Final = 1.0
CLOSING_SECONDS: Final = 0.1


def connect(join: Join, token: FixedToken) -> Session:
    """Open a connection as a join Secret says: its address, its CA certificates, its token, nothing else."""
    tls = None
    if join.server.startswith("https:"):
        try:
            tls = ssl.create_default_context(cadata=join.authority)
        except ssl.SSLError as error:
            raise MisconfiguredError(f"the CA certificates of the join Secret: {error.reason}") from None
    return Session(Credentials(join.server, tls, token), connections=CONNECTIONS, most_bytes=MOST_BYTES)


class Links:
    """The links of one process; belongs to one event loop, ``run`` has to run in it."""

    def __init__(
        self,
        *,
        deliver: Callable[[str, PrimaryView], None],
        fence: Callable[[], float],
        clock: Clock,
        telemetry: Telemetry,
        connect: Connect = connect,
    ) -> None:
        self._deliver = deliver
        self._fence = fence
        self._clock = clock
        self._telemetry = telemetry
        self._connect = connect
        self._links: dict[str, tuple[PrimaryLink, asyncio.Task[None]]] = {}

    def wish(self, configuration: str, wish: PrimaryWish | None) -> None:
        """Have the link of a configuration do something, or end."""
        known = self._links.get(configuration)
        if wish is None:
            if known is not None:
                del self._links[configuration]
                known[1].cancel()
            self._telemetry.no_primary(configuration)
            return
        if known is None:
            known = self._links[configuration] = self._open(configuration)
        known[0].wish(wish)

    def _open(self, configuration: str) -> tuple[PrimaryLink, asyncio.Task[None]]:
        link = PrimaryLink(
            configuration,
            connect=self._connect,
            deliver=self._deliver,
            fence=self._fence,
            clock=self._clock,
            telemetry=self._telemetry,
        )
        return link, asyncio.get_running_loop().create_task(link.run(), name=f"link-{configuration}")

    async def aclose(self) -> None:
        """End all links."""
        tasks = [task for _, task in self._links.values()]
        self._links.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class LinkThread:
    """The thread of the links; ``wish`` may be called from anywhere, views arrive in the engine's loop."""

    def __init__(
        self,
        engine: asyncio.AbstractEventLoop,
        deliver: Callable[[str, PrimaryView], None],
        *,
        fence: Callable[[], float],
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._engine = engine
        self._deliver = deliver
        self._fence = fence
        self._clock = clock
        self._telemetry = telemetry
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._links: Links | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._main, name="links", daemon=True)

    def start(self) -> None:
        """Start the thread and wait until its loop runs."""
        self._thread.start()
        self._ready.wait()

    def wish(self, configuration: str, wish: PrimaryWish | None) -> None:
        """Hand a wish over."""
        if self._links is not None:
            _call(self._loop, self._links.wish, configuration, wish)

    def stop(self) -> None:
        """Tell the thread to end; returns at once."""
        if self._stop is not None:
            _call(self._loop, self._stop.set)

    async def stopped(self) -> None:
        """Wait a moment until it has ended; what hangs then dies with the process."""
        await asyncio.to_thread(self._thread.join, STOP_SECONDS)

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._links = Links(
            deliver=self._hand_over, fence=self._fence, clock=self._clock, telemetry=self._telemetry
        )
        self._ready.set()
        await self._stop.wait()
        await self._links.aclose()
        # Connections under TLS take a few turns of the loop to close.
        await asyncio.sleep(CLOSING_SECONDS)

    def _hand_over(self, configuration: str, view: PrimaryView) -> None:
        _call(self._engine, self._deliver, configuration, view)


def _call(loop: asyncio.AbstractEventLoop | None, act: Callable[..., object], *what: object) -> None:
    """Have another loop do something, unless it has ended: then nobody is left to care."""
    try:
        if loop is not None:
            loop.call_soon_threadsafe(act, *what)
    except RuntimeError:
        _log.debug("a loop has ended")
