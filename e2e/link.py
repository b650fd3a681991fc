"""A TCP connection between two clusters that a scenario can cut, reset, swallow and slow down.

Decides only what happens to bytes; knows nothing of TLS or Kubernetes. Listens on 127.0.0.1, at the same
port for its whole life, and forwards to one address of this machine. Runs in a thread with a loop of its own.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

from e2e import processes

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

T = TypeVar("T")
HOST = "127.0.0.1"
CHUNK = 65536
STOP_SECONDS = 10.0
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER by which closing sends RST in place of what is left."""


class Link:
    """A proxy in front of ``server`` (a URL of this machine); a context manager, open when entered.

    ``heal`` ends any disturbance. ``cut`` refuses and ends every connection, ``reset`` ends those that are
    open and no more, ``flap`` does so again and again, ``black_hole`` accepts and swallows, ``delay`` holds
    each piece back for so long. ``lead`` has it end somewhere else, for good.
    """

    def __init__(self, server: str) -> None:
        self._target = _place(server)
        self.port = processes.free_port()
        self.url = f"{urlsplit(server).scheme}://{HOST}:{self.port}"
        self.accepted = 0
        """Connections that were ever accepted."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"link {self.port}", daemon=True)
        self._flows = asyncio.Event()
        self._seconds = 0.0
        self._listener: asyncio.Server | None = None
        self._flapping: asyncio.Future[None] | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._carriers: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        """Begin to listen; returns when connections are accepted."""
        self._thread.start()
        self.heal()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_SECONDS)
        self._loop.close()

    # --- disturbances -----------------------------------------------------------------------------

    def heal(self) -> None:
        """Accept connections and let everything pass at once, also what was swallowed meanwhile."""
        self._call(self._heal())

    def cut(self) -> None:
        """Refuse connections from now on, and end those that are open."""
        self._call(self._cut())

    def reset(self) -> None:
        """End the connections that are open (RST); new ones go through."""
        self._call(self._reset())

    def black_hole(self) -> None:
        """Accept connections, keep all, and let nothing through, as a network that lost its routes."""
        self._call(self._swallow())

    def delay(self, seconds: float) -> None:
        """Hold each piece back for so long, in both directions."""
        self._call(self._delay(seconds))

    def lead(self, server: str) -> None:
        """Lead to another server from now on, and end the connections that are open."""
        self._target = _place(server)
        self.reset()

    def flap(self, seconds: float) -> None:
        """End every connection (RST) after so many seconds, again and again."""
        self._call(self._flap(seconds))

    @property
    def connections(self) -> int:
        """Return how many clients are connected now."""
        return len(self._carriers)

    @property
    def swallows(self) -> bool:
        """Tell whether nothing gets through although connections stand."""
        return not self._flows.is_set()

    # --- in the loop --------------------------------------------------------------------------------

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(STOP_SECONDS)

    async def _heal(self) -> None:
        if self._flapping is not None:
            self._flapping.cancel()
            self._flapping = None
        self._seconds = 0.0
        self._flows.set()
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, HOST, self.port, reuse_address=True)

    async def _swallow(self) -> None:
        self._flows.clear()

    async def _delay(self, seconds: float) -> None:
        self._seconds = seconds

    async def _flap(self, seconds: float) -> None:
        async def again() -> None:
            while True:
                await asyncio.sleep(seconds)
                await self._reset()

        self._flapping = asyncio.ensure_future(again())

    async def _cut(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._reset()

    async def _reset(self) -> None:
        for writer in list(self._open):
            abort(writer)
        for task in (ending := list(self._carriers)):
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def _close(self) -> None:
        await self._heal()
        await self._cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._open.add(writer)
        # A task of our own: asyncio complains when one that it made for a connection is cancelled.
        carrier = asyncio.ensure_future(self._carry(reader, writer))
        self._carriers.add(carrier)
        await asyncio.wait([carrier])
        self._carriers.discard(carrier)
        self._open.discard(writer)
        writer.close()
        if not carrier.cancelled():
            carrier.result()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._join(reader, writer)
        except* OSError:
            abort(writer)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flows.wait()
        onward, outward = await asyncio.open_connection(*self._target)
        self._open.add(outward)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, outward))
                both.create_task(self._pump(onward, writer))
        finally:
            self._open.discard(outward)
            outward.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction until it ends; what ends with an error ends the other direction too."""
        while data := await reader.read(CHUNK):
            await self._flows.wait()
            if self._seconds:
                await asyncio.sleep(self._seconds)
            writer.write(data)
            await writer.drain()
        await self._flows.wait()
        if writer.can_write_eof():
            writer.write_eof()


def _place(server: str) -> tuple[str, int]:
    parts = urlsplit(server)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def abort(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST."""
    plain = writer.get_extra_info("socket")
    if plain is not None and plain.fileno() >= 0:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
