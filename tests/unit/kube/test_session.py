"""HTTP over real loopback sockets: requests, streams, connections and limits."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from meshca import errors
from meshca.api.names import SECRET
from meshca.kube.gateway import Gateway
from tests.fakes.apiserver.http import serve
from tests.fakes.apiserver.server import ApiServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
from tests.fakes.listening import echo, listening, session


async def test_a_request_is_sent_as_given() -> None:
    async with listening(echo) as url, session(url) as http:
        answer = await http.request(
            "PATCH",
            "/apis/g/v1/namespaces/n/things/a:b",
            params={"fieldManager": "m", "labelSelector": "a in (b,c)"},
            body=b"{}",
            content_type="application/merge-patch+json",
            accept="application/json;as=x",
            timeout=5,
        )
    seen = json.loads(answer.body)
    assert answer.status == 200
    assert answer.headers["x-mixed-case"] == "1"
    assert seen["method"] == "PATCH"
    assert (
        seen["path"]
        == "/apis/g/v1/namespaces/n/things/a%3Ab?fieldManager=m&labelSelector=a%20in%20%28b%2Cc%29"
    )
    assert seen["headers"]["content-type"] == "application/merge-patch+json"
    assert seen["headers"]["accept"] == "application/json;as=x"
    assert seen["headers"]["accept-encoding"] == "identity"
    assert seen["headers"]["user-agent"].startswith("meshca-operator/")
    assert "authorization" not in seen["headers"]
    assert seen["body"] == "{}"


@asynccontextmanager
async def chunks(*parts: bytes, code: int = 200) -> AsyncIterator[str]:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=code)
        response.enable_chunked_encoding()
        await response.prepare(request)
        for part in parts:
            await response.write(part)
            await asyncio.sleep(0.005)
        return response

    async with listening(stream) as url:
        yield url


@pytest.mark.parametrize(
    ("parts", "lines"),
    [
        ((b"a\nb\n",), [b"a", b"b"]),
        ((b"a", b"b\nc", b"\n"), [b"ab", b"c"]),
        ((b"a\n\n\nb\n",), [b"a", b"b"]),
        ((b"a\nhalf",), [b"a", b"half"]),
        ((b"x" * 300_000 + b"\n",), [b"x" * 300_000]),
        ((), []),
    ],
    ids=["whole", "split", "empty lines", "half", "long", "nothing"],
)
async def test_a_stream_is_cut_into_lines(parts: tuple[bytes, ...], lines: list[bytes]) -> None:
    async with (
        chunks(*parts) as url,
        session(url) as http,
        http.stream("/w", params={"watch": "1"}, timeout=5) as stream,
    ):
        assert [line async for line in stream.lines] == lines


async def test_a_stream_that_breaks_is_an_error() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b"a\n")
        assert request.transport is not None
        request.transport.abort()
        return response

    async with listening(cut) as url, session(url) as http:
        with pytest.raises(errors.TransientError):
            async with http.stream("/w", params={}, timeout=5) as stream:
                _ = [line async for line in stream.lines]


async def test_open_streams_do_not_use_up_the_connections_of_requests() -> None:
    server = ApiServer()
    async with serve(server) as url, session(url, connections=1) as http:
        gateway = Gateway(http)
        watches = [gateway.watch(SECRET, resource_version="0") for _ in range(5)]
        server.create(SECRET, {"metadata": {"name": "s", "namespace": "default"}})
        for watch in watches:
            assert (await anext(watch)).type == "ADDED"
        assert len(await gateway.list(SECRET)) == 1
        for watch in watches:
            async with aclosing(watch):
                pass


async def test_requests_wait_for_a_free_connection() -> None:
    most = now = 0

    async def count(_request: web.Request) -> web.Response:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return web.Response()

    async with listening(count) as url, session(url, connections=3) as http:
        await asyncio.gather(*(http.request("GET", "/x", timeout=5) for _ in range(12)))
    assert most == 3


async def test_an_answer_that_is_too_large_is_given_up() -> None:
    async def large(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * 5000)

    async with listening(large) as url:
        async with session(url, most_bytes=5000) as http:
            assert len((await http.request("GET", "/", timeout=5)).body) == 5000
        async with session(url, most_bytes=4999) as http:
            with pytest.raises(errors.UnknownOutcomeError, match="larger than 4999 bytes"):
                await http.request("GET", "/", timeout=5)


async def test_a_line_of_a_stream_that_is_too_large_is_given_up() -> None:
    async def lines(_: web.Request) -> web.Response:
        return web.Response(body=b"a" * 400 + b"\n" + b"b" * 900)

    async with listening(lines) as url, session(url, most_bytes=500) as http:
        with pytest.raises(errors.UnknownOutcomeError, match="larger than 500 bytes"):
            async with http.stream("/", params={}, timeout=5) as stream:
                assert [line async for line in stream.lines] == []
