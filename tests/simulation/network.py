"""The network between one node and an API server: delays, losses, partitions, answers that never come.

Decides what becomes of each request and each line of a watch, by its own seeded generator. A request is
carried by the world and not by the process that sent it: it arrives even if that process is frozen or dead
by then, and even if nobody waits for the answer any more.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import aclosing, asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from meshca.errors import LeaseExpiringError, TransientError, UnknownOutcomeError
from meshca.kube.transport import Response, Stream
from tests.fakes.apiserver import status
from tests.fakes.apiserver.faults import AnswerLostError, UnreachableError
from tests.fakes.apiserver.wire import Answer, Request

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

    from tests.fakes.apiserver.server import ApiServer

AGENT = "meshca-operator/simulation"


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad a network is: seconds and probabilities."""

    latency: float = 0.005
    slow: float = 0.0
    """Of requests that take up to ten seconds, longer than a write is waited for."""
    lost: float = 0.0
    """Of requests that are carried out and never answered."""
    refused: float = 0.0
    errors: float = 0.0
    late_events: float = 0.0
    """Of lines of a watch that come up to twenty seconds late, and all that follow with them."""
    twice: float = 0.0
    """Of lines of a watch that come twice."""


FINE = Weather()
FAIR = Weather(latency=0.05, slow=0.002, lost=0.002, refused=0.002, errors=0.002, late_events=0.01)
ROUGH = Weather(0.2, slow=0.02, lost=0.03, refused=0.03, errors=0.03, late_events=0.05, twice=0.05)
STORM = Weather(0.5, slow=0.1, lost=0.15, refused=0.1, errors=0.1, late_events=0.2, twice=0.2)


@dataclass
class Network:
    """One node's network; ``blocked``: nothing gets through, ``told`` hears of each answer."""

    rng: random.Random
    weather: Weather = FINE
    blocked: bool = False
    deaf: bool = False
    """Whether watches tell nothing, while everything else works."""
    no_way_there: bool = False
    """Whether what is sent does not arrive; what was asked before is answered, and watches go on."""
    no_way_back: bool = False
    """Whether what is sent arrives and is never answered."""
    told: Callable[[str, Request, int], None] = field(default=lambda *_: None)

    def happens(self, probability: float) -> bool:
        return probability > 0 and self.rng.random() < probability

    def delay(self) -> float:
        if self.happens(self.weather.slow):
            return self.rng.uniform(1.0, 10.0)
        return self.weather.latency * self.rng.uniform(0.1, 1.0)


class SimTransport:
    """``meshca.kube.transport.Transport`` of one process; ``dead`` once that was killed."""

    def __init__(
        self,
        server: ApiServer,
        network: Network,
        user: str,
        process: str,
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        self._may_write = may_write
        self._server = server
        self._network = network
        self._user = user
        self._process = process
        self._killed = False
        self._others: list[SimTransport] = []

    @property
    def dead(self) -> bool:
        return self._killed

    def kill(self) -> None:
        """Let nothing through any more, neither here nor in what was made of this."""
        self._killed = True
        for other in self._others:
            other.kill()

    def fenced(self, may_write: Callable[[], bool]) -> SimTransport:
        """Return one of the same process that asks, as a session does, before a write leaves."""
        made = SimTransport(self._server, self._network, self._user, self._process, may_write)
        self.take_along(made)
        return made

    def take_along(self, other: SimTransport) -> None:
        """Have another one of the same process end with this one."""
        other._killed = self._killed
        self._others.append(other)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "",
        accept: str = "application/json",
        timeout: float,  # noqa: ASYNC109  as the protocol has it
    ) -> Response:
        request = Request(
            method, path, dict(params or {}), body or b"", content_type, accept, self._user, AGENT
        )
        if method != "GET" and not self._may_write():
            raise LeaseExpiringError(f"{method} {path}: the Lease may be lost")
        answer = await self._exchange(request, timeout)
        return Response(answer.status, _lower(answer.headers), answer.body)

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        params: Mapping[str, str],
        accept: str = "application/json",
        timeout: float,  # noqa: ASYNC109  as the protocol has it
    ) -> AsyncIterator[Stream]:
        request = Request("GET", path, dict(params), accept=accept, user=self._user, agent=AGENT)
        try:
            async with asyncio.timeout(timeout):
                answer = await self._exchange(request, timeout)
                lines: Any = answer.lines if answer.lines is not None else _text_lines(answer.body)
                async with aclosing(lines), aclosing(self._lines(lines)) as told:
                    yield Stream(answer.status, _lower(answer.headers), told)
        except TimeoutError as error:
            raise UnknownOutcomeError(f"GET {path}: no answer", reason="NoAnswer") from error

    async def aclose(self) -> None:
        return

    async def _lines(self, lines: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        network = self._network
        async for line in lines:
            if network.happens(network.weather.late_events):
                await asyncio.sleep(network.rng.uniform(0.1, 20.0))
            if network.blocked or network.deaf or network.no_way_back or self.dead:
                # What was sent into a broken network comes with the next connection.
                await asyncio.sleep(math.inf)
            yield line
            if network.happens(network.weather.twice):
                yield line

    async def _exchange(self, request: Request, limit: float) -> Answer:
        what = f"{request.method} {request.path}"
        if self.dead:
            raise TransientError(f"{what}: this process is dead", reason="Unreachable")
        loop = asyncio.get_running_loop()
        # In a context of its own: it belongs to nobody who could be frozen.
        carried = loop.create_task(self._carry(request), context=Context())
        try:
            async with asyncio.timeout(limit):
                answer = await asyncio.shield(carried)
                if answer is None:
                    await asyncio.sleep(math.inf)
        except UnreachableError as error:
            raise TransientError(f"{what}: unreachable", reason="Unreachable") from error
        except TimeoutError as error:
            raise UnknownOutcomeError(f"{what}: no answer", reason="NoAnswer") from error
        if self.dead:
            raise TransientError(f"{what}: this process is dead", reason="Unreachable")
        assert isinstance(answer, Answer)
        if isinstance(answer, _Refused):
            raise TransientError(f"{what}: unreachable", reason="Unreachable")
        if isinstance(answer, _Broken):
            raise UnknownOutcomeError(f"{what}: the connection broke", reason="NoAnswer")
        return answer

    async def _carry(self, request: Request) -> Answer | None:
        """Take a request there and its answer back; None: nothing comes back."""
        network, weather = self._network, self._network.weather
        await asyncio.sleep(network.delay())
        if network.blocked or network.no_way_there:
            return None
        if network.happens(weather.refused):
            return _Refused(0)
        if network.happens(weather.errors):
            return self._error(request)
        return await self._perform(request, lost=network.happens(weather.lost))

    async def _perform(self, request: Request, *, lost: bool) -> Answer | None:
        network = self._network
        lies = network.happens(network.weather.errors)
        try:
            answer = await self._serve(request)
        except (UnreachableError, AnswerLostError) as error:
            return _Refused(0) if isinstance(error, UnreachableError) else _Broken(0)
        network.told(self._process, request, answer.status)
        if lost and answer.lines is None:
            return _Broken(0) if network.happens(0.5) else None
        await asyncio.sleep(network.delay())
        if network.blocked or network.no_way_back:
            return None
        if lies and answer.lines is None:
            # It was done, and the server could not say so.
            return self._server._refusal(status.internal("etcdserver: request timed out"))
        return answer

    async def _serve(self, request: Request) -> Answer:
        return await self._server.handle(request)

    def _error(self, request: Request) -> Answer:
        """Return an error of the server's, which says that nothing was done or does not say it."""
        kind = self._network.rng.choice(
            [
                status.too_many(self._network.rng.randrange(1, 4)),
                status.internal("etcdserver: leader changed"),
                status.unavailable(),
                status.unauthorized(),
            ]
        )
        self._network.told(self._process, request, kind.code)
        return self._server._refusal(kind)


class _Refused(Answer):
    """No connection."""


class _Broken(Answer):
    """A connection that broke while the answer was waited for."""


async def _text_lines(body: bytes) -> AsyncIterator[bytes]:
    for line in body.splitlines():
        yield line


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
