"""The seam between meshca and HTTP: one request, or one stream of lines.

Decides nothing. ``session.Session`` implements it over aiohttp, tests implement it in memory, so that
everything above it runs without sockets and under virtual time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager


@dataclass(frozen=True, slots=True)
class Response:
    """One whole answer; ask for headers by lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Stream:
    """An open answer; ``lines`` are without their ends, the last one may be a broken half."""

    status: int
    headers: Mapping[str, str]
    lines: AsyncIterator[bytes]


class Transport(Protocol):
    """Sends what it is given to one API server.

    Raises ``TransientError`` when the request certainly did not reach the server, and
    ``UnknownOutcomeError`` when it may have; every answer with a status is returned, not raised.
    """

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "",
        accept: str = "application/json",
        timeout: float,  # noqa: ASYNC109  the seam carries it to the socket
    ) -> Response:
        """Exchange one request for one answer within ``timeout`` seconds; ``path`` is not yet quoted."""
        ...

    def stream(
        self,
        path: str,
        *,
        params: Mapping[str, str],
        accept: str = "application/json",
        timeout: float,
    ) -> AbstractAsyncContextManager[Stream]:
        """Open a GET whose answer comes line by line, for at most ``timeout`` seconds in all."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...
