"""What a broken connection means for a write, and that none leaves after the Lease."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from meshca import errors
from meshca.api.names import SECRET
from meshca.kube.credentials import FixedToken
from meshca.kube.gateway import Gateway
from tests.fakes.apiserver.http import serve
from tests.fakes.apiserver.server import ApiServer
from tests.fakes.listening import echo, listening, session


async def test_a_refused_connection_was_certainly_not_sent() -> None:
    async with listening(echo) as url:
        pass
    async with session(url) as http:
        with pytest.raises(errors.TransientError) as caught:
            await http.request("POST", "/x", body=b"", timeout=5)
        assert type(caught.value) is errors.TransientError
        assert caught.value.reason == "Unreachable"


async def test_a_connection_that_breaks_leaves_doubt() -> None:
    async def cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with listening(cut) as url, session(url) as http:
        with pytest.raises(errors.UnknownOutcomeError):
            await http.request("POST", "/x", body=b"{}", timeout=5)


async def test_an_answer_that_takes_too_long_leaves_doubt() -> None:
    async def slow(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async with listening(slow) as url, session(url) as http:
        with pytest.raises(errors.UnknownOutcomeError):
            await http.request("POST", "/x", body=b"{}", timeout=0.05)


async def test_lost_answers_over_sockets_leave_doubt() -> None:
    server = ApiServer()
    async with serve(server, {"t": "somebody"}) as url, session(url, FixedToken("t")) as http:
        server.fault(verb="create", lose_answer=True)
        with pytest.raises(errors.UnknownOutcomeError):
            await Gateway(http).create(SECRET, {"metadata": {"name": "s", "namespace": "default"}})
    assert server.find(SECRET, "s", "default") is not None
    assert [entry.info.user for entry in server.audit] == ["somebody"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("kept", [False, True], ids=["new connection", "kept connection"])
async def test_a_write_whose_connection_breaks_is_not_sent_again(method: str, *, kept: bool) -> None:
    seen: list[str] = []

    async def break_on_writes(request: web.Request) -> web.Response:
        seen.append(request.method)
        await request.read()
        if request.method != "GET":
            assert request.transport is not None
            request.transport.abort()
        return web.Response()

    async with listening(break_on_writes) as url, session(url) as http:
        if kept:
            await http.request("GET", "/x", timeout=5)
        with pytest.raises(errors.UnknownOutcomeError):
            await http.request(method, "/x", body=b"{}", content_type="application/json", timeout=5)
    assert [each for each in seen if each != "GET"] == [method]


async def test_a_replace_or_delete_that_was_done_but_not_answered_is_in_doubt() -> None:
    server = ApiServer()
    made = server.create(SECRET, {"metadata": {"name": "s", "namespace": "default"}})
    async with serve(server) as url, session(url) as http:
        server.fault(verb="update", lose_answer=True)
        with pytest.raises(errors.UnknownOutcomeError):
            await Gateway(http).replace(SECRET, made | {"data": {"a": "QQ=="}})
        server.fault(verb="delete", lose_answer=True)
        with pytest.raises(errors.UnknownOutcomeError):
            await Gateway(http).delete(SECRET, "s", "default", uid=made["metadata"]["uid"])
    assert [entry.code for entry in server.audit] == [200, 200]


async def test_213_a_write_that_waited_for_a_connection_until_the_lease_was_over_is_not_sent() -> None:
    seen: list[str] = []
    first, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        seen.append(f"{request.method} {request.path}")
        first.set()
        await go_on.wait()
        return web.json_response({})

    ours = True
    async with listening(slow) as url, session(url, connections=1, may_write=lambda: ours) as http:
        sent = asyncio.create_task(http.request("PUT", "/sent", timeout=5))
        await first.wait()
        waiting = asyncio.create_task(http.request("PATCH", "/waiting", timeout=5))
        await asyncio.sleep(0.01)
        ours = False
        go_on.set()
        assert (await sent).status == 200
        with pytest.raises(errors.TransientError, match="the Lease may be lost") as caught:
            await waiting
        assert caught.value.reason == "LeaseExpiring"
        assert not isinstance(caught.value, errors.UnknownOutcomeError)
        assert (await http.request("GET", "/read", timeout=5)).status == 200
    assert seen == ["PUT /sent", "GET /read"]


async def test_213_a_write_whose_connection_was_there_in_time_is_not_sent_after_the_lease() -> None:
    """As when the process is frozen after it got the connection, before the event loop's next round."""
    seen: list[str] = []
    asked: list[str] = []

    async def note(request: web.Request) -> web.Response:
        seen.append(f"{request.method} {request.path}")
        return web.json_response({})

    def once() -> bool:
        asked.append("")
        return len(asked) == 1

    async with listening(note) as url, session(url, may_write=once) as http:
        with pytest.raises(errors.TransientError, match="PUT /late: the Lease may be lost") as caught:
            await http.request("PUT", "/late", body=b"{}", timeout=5)
        assert caught.value.reason == "LeaseExpiring"
        assert not isinstance(caught.value, errors.UnknownOutcomeError)
        assert (await http.request("GET", "/read", timeout=5)).status == 200
    assert (seen, len(asked)) == (["GET /read"], 2)
