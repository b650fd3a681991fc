"""``meshca.kube.transport.Transport`` straight into an ApiServer: no sockets, works in virtual time."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

from meshca.errors import TransientError, UnknownOutcomeError
from meshca.kube.transport import Response, Stream
from tests.fakes.apiserver.faults import AnswerLostError, UnreachableError
from tests.fakes.apiserver.wire import ADMIN, Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.fakes.apiserver.server import ApiServer
    from tests.fakes.apiserver.wire import Answer


class FakeTransport:
    """Acts as ``user``; ``latency`` seconds pass before each request arrives."""

    def __init__(
        self,
        server: ApiServer,
        user: str = ADMIN,
        *,
        agent: str = "meshca-operator/test",
        latency: float = 0.0,
    ) -> None:
        self.server = server
        self.user = user
        self.agent = agent
        self.latency = latency

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
            method, path, dict(params or {}), body or b"", content_type, accept, self.user, self.agent
        )
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
        request = Request("GET", path, dict(params), accept=accept, user=self.user, agent=self.agent)
        try:
            async with asyncio.timeout(timeout):
                answer = await self._exchange(request, timeout)
                if answer.lines is None:
                    yield Stream(answer.status, _lower(answer.headers), _text_lines(answer.body))
                    return
                lines: Any = answer.lines
                async with aclosing(lines):
                    yield Stream(answer.status, _lower(answer.headers), lines)
        except TimeoutError as error:
            raise UnknownOutcomeError(f"GET {path}: no answer", reason="NoAnswer") from error

    async def aclose(self) -> None:
        return

    async def _exchange(self, request: Request, limit: float) -> Answer:
        what = f"{request.method} {request.path}"
        try:
            async with asyncio.timeout(limit):
                # Even a fast network lets other tasks run.
                await asyncio.sleep(self.latency)
                return await self.server.handle(request)
        except UnreachableError as error:
            raise TransientError(f"{what}: unreachable", reason="Unreachable") from error
        except (AnswerLostError, TimeoutError) as error:
            raise UnknownOutcomeError(f"{what}: no answer", reason="NoAnswer") from error


async def _text_lines(body: bytes) -> AsyncIterator[bytes]:
    for line in body.splitlines():
        yield line


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
