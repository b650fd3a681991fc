"""HTTP towards one API server, over aiohttp.

Decides connection limits, timeouts and what a broken connection means (certainly not sent, or maybe), and
asks for each write at the last moment whether it may still be sent; never looks into a body. Hand-written
in place of ``kubernetes.aio``'s REST client because that costs four times the CPU per call; the library
still loads the credentials.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from meshca import __version__
from meshca.errors import LeaseExpiringError, TransientError, UnknownOutcomeError
from meshca.kube.transport import Response, Stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.client_middlewares import ClientHandlerType
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

    from meshca.kube.credentials import Credentials

CONNECTIONS = 32
CONNECT_SECONDS = 10.0
# Below the API server's own idle limit, so that a request seldom meets a connection just closed.
KEEPALIVE_SECONDS = 30.0
AGENT = "meshca-operator"
_HEADERS = {
    # Compressing costs both sides more CPU than a cluster's network costs time.
    "Accept-Encoding": "identity",
}


def _always() -> bool:
    return True


def _late(what: str) -> LeaseExpiringError:
    return LeaseExpiringError(f"{what}: the Lease may be lost before the write ends")


class _Connector(aiohttp.TCPConnector):
    """Asks once more, when a connection is there, whether a write may be sent.

    Between the caller's own look at its Lease and this moment lie the wait for a connection and, should the
    process be frozen, any length of time.
    """

    def __init__(self, may_write: Callable[[], bool], **settings: Any) -> None:
        super().__init__(**settings)
        self._may_write = may_write

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  aiohttp's signature
    ) -> Connection:
        """Return a connection for a request; ``LeaseExpiringError`` when it must not be sent any more."""
        connection = await super().connect(req, traces, timeout)
        if req.method != "GET" and not self._may_write():
            connection.release()
            raise _late(f"{req.method} {req.url.path}")
        return connection


class _Body(aiohttp.BytesPayload):
    """The body of a write, which asks a last time: aiohttp sends it, headers first, in a task of its own.

    What is handed to the event loop after that leaves at the end of the loop's round, whatever happens.
    """

    def __init__(self, value: bytes, what: str, may_write: Callable[[], bool]) -> None:
        super().__init__(value)
        self._what = what
        self._may_write = may_write

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write headers and body; ``LeaseExpiringError`` and nothing at all when they must not be sent."""
        if not self._may_write():
            raise _late(self._what)
        await super().write_with_length(writer, content_length)


class _BrokenWriteError(aiohttp.ClientConnectionError):
    """The connection broke while a write was under way; ``how`` is what aiohttp would repeat it for."""

    def __init__(self, how: aiohttp.ClientError) -> None:
        super().__init__(str(how))
        self.how = how


async def _once(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
    """Send a write once: aiohttp repeats a PUT or DELETE, whose second time then fails for its first."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise  # never sent, and never repeated either
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        if request.method == "GET":
            raise
        raise _BrokenWriteError(error) from error


def open_client(
    credentials: Credentials,
    *,
    connections: int = 0,
    agent: str = AGENT,
    may_write: Callable[[], bool] = _always,
) -> aiohttp.ClientSession:
    """Open an aiohttp session that authenticates by itself; ``connections`` 0 means no limit.

    The token is the file's at each request; a 401 makes it be read again and, if it changed, the
    request be sent once more. Nothing else makes a write be sent twice.
    """

    async def authenticate(
        request: aiohttp.ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        token = credentials.token
        if text := token.current():
            request.headers["Authorization"] = f"Bearer {text}"
        response = await handler(request)
        if response.status == 401 and token.reload():  # noqa: PLR2004  Unauthorized
            response.release()
            request.headers["Authorization"] = f"Bearer {token.current()}"
            response = await handler(request)
        return response

    return aiohttp.ClientSession(
        connector=_Connector(
            may_write,
            limit=connections,
            ssl=credentials.tls if credentials.tls is not None else False,
            keepalive_timeout=KEEPALIVE_SECONDS,
        ),
        headers=_HEADERS | {"User-Agent": f"{agent}/{__version__}"},
        middlewares=(authenticate, _once),
        auto_decompress=False,
        # An API server sets none; the library would look for some to send at each request.
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )


class Session:
    """``Transport`` over aiohttp; make it inside the running loop, close it with ``aclose``.

    ``may_write`` is asked when a write is about to leave; when it says no, the write certainly does not.
    An answer, or a line of a stream, of more than ``most_bytes`` is given up (0: never).
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        connections: int = CONNECTIONS,
        agent: str = AGENT,
        may_write: Callable[[], bool] = _always,
        most_bytes: int = 0,
    ) -> None:
        self._server = credentials.server.rstrip("/")
        self._server_name = credentials.tls_server_name or None
        self._most_bytes = most_bytes
        self._may_write = may_write
        # Watches stay open for minutes: they must not use up the places of requests.
        self._requests = open_client(credentials, connections=connections, agent=agent, may_write=may_write)
        self._streams = open_client(credentials, agent=agent)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "",
        accept: str = "application/json",
        timeout: float,  # noqa: ASYNC109  aiohttp's own timeout is cheaper than a task
    ) -> Response:
        """Exchange one request for one answer within ``timeout`` seconds; redirects are not followed."""
        headers = {"Accept": accept}
        if content_type:
            headers["Content-Type"] = content_type
        data = _Body(body, f"{method} {path}", self._may_write) if body else None
        try:
            async with self._requests.request(
                method,
                self._url(path, params),
                data=data,
                headers=headers,
                allow_redirects=False,
                timeout=_limits(timeout),
                server_hostname=self._server_name,
            ) as answer:
                content = await self._whole(answer, f"{method} {path}")
                return Response(answer.status, answer.headers, content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _broken(error, f"{method} {path}") from error

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        params: Mapping[str, str],
        accept: str = "application/json",
        timeout: float,  # noqa: ASYNC109  aiohttp's own timeout is cheaper than a task
    ) -> AsyncIterator[Stream]:
        """Open a GET whose answer comes line by line, for at most ``timeout`` seconds in all."""
        try:
            async with self._streams.get(
                self._url(path, params),
                headers={"Accept": accept},
                allow_redirects=False,
                timeout=_limits(timeout),
                server_hostname=self._server_name,
            ) as answer:
                lines = _lines(answer.content, self._most_bytes, f"GET {path}")
                yield Stream(answer.status, answer.headers, lines)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _broken(error, f"GET {path}") from error

    async def aclose(self) -> None:
        """Close all connections."""
        await self._requests.close()
        await self._streams.close()

    async def _whole(self, answer: aiohttp.ClientResponse, what: str) -> bytes:
        if not self._most_bytes:
            return await answer.read()
        content = bytearray()
        async for chunk in answer.content.iter_any():
            content += chunk
            _check_size(len(content), self._most_bytes, what)
        return bytes(content)

    def _url(self, path: str, params: Mapping[str, str] | None) -> URL:
        query = "?" + urlencode(params, quote_via=quote) if params else ""
        return URL(self._server + quote(path) + query, encoded=True)


def _check_size(size: int, most: int, what: str) -> None:
    if most and size > most:
        raise UnknownOutcomeError(f"{what}: the answer is larger than {most} bytes", reason="TooLarge")


@cache
def _limits(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds, sock_connect=min(seconds, CONNECT_SECONDS))


async def _lines(content: aiohttp.StreamReader, most: int, what: str) -> AsyncIterator[bytes]:
    # Not readline(): it refuses lines beyond 64 KiB, and an object may have 1.5 MiB.
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        _check_size(len(rest), most, what)
        for line in whole:
            if line:
                yield line
    if rest:
        yield rest


def _broken(error: Exception, what: str) -> TransientError:
    if isinstance(error, _BrokenWriteError):
        error = error.how
    if isinstance(error.__cause__, TransientError):
        return error.__cause__  # what the body itself refused
    kind = type(error).__name__
    if isinstance(error, aiohttp.ClientSSLError):
        return TransientError(
            f"{what}: the API server's certificate is not one that the CA certificates given here vouch for"
            f" ({kind})",
            reason="Untrusted",
        )
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
        return TransientError(f"{what}: the API server cannot be reached ({kind})", reason="Unreachable")
    return UnknownOutcomeError(f"{what}: no answer ({kind})", reason="NoAnswer")
