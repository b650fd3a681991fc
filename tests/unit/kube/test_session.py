"""HTTP over real loopback sockets: TLS, tokens, limits, and what a broken connection means."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from aiohttp import web

from meshca import errors
from meshca.api.names import SECRET
from meshca.clock import SystemClock
from meshca.kube.credentials import Credentials, FixedToken, TokenFile
from meshca.kube.gateway import Gateway
from meshca.kube.session import Session, open_client
from tests.fakes.apiserver.http import serve
from tests.fakes.apiserver.server import ApiServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path


@asynccontextmanager
async def listening(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def session(url: str, token: Any = None, **more: Any) -> AsyncIterator[Session]:
    made = Session(Credentials(url, more.pop("tls", None), token or FixedToken()), **more)
    try:
        yield made
    finally:
        await made.aclose()
        await asyncio.sleep(0.01)


async def _echo(request: web.Request) -> web.Response:
    seen = {
        "method": request.method,
        "path": request.raw_path,
        "headers": {name.lower(): value for name, value in request.headers.items()},
        "body": (await request.read()).decode(),
    }
    return web.json_response(seen, headers={"X-Mixed-Case": "1"})


async def test_a_request_is_sent_as_given() -> None:
    async with listening(_echo) as url, session(url) as http:
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


async def test_redirects_are_not_followed_with_our_token() -> None:
    async def elsewhere(_request: web.Request) -> web.Response:
        raise web.HTTPFound("http://127.0.0.1:9/steal")

    async with listening(elsewhere) as url, session(url, FixedToken("secret")) as http:
        assert (await http.request("GET", "/x", timeout=5)).status == 302


async def test_the_token_is_the_files_and_a_401_reads_it_again(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old\n")
    seen: list[str] = []

    async def guard(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        # The file is replaced while the request is on its way.
        if seen[-1] == "Bearer old":
            path.write_text("newer\n")
            return web.Response(status=401)
        return web.json_response({"body": (await request.read()).decode()})

    token = TokenFile(path, SystemClock())
    async with listening(guard) as url, session(url, token) as http:
        answer = await http.request("POST", "/x", body=b"once", content_type="text/plain", timeout=5)
        assert answer.status == 200
        assert json.loads(answer.body) == {"body": "once"}
        await http.request("GET", "/x", timeout=5)
    assert seen == ["Bearer old", "Bearer newer", "Bearer newer"]


async def test_a_401_with_the_same_token_is_an_answer(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("same")
    count = 0

    async def guard(_request: web.Request) -> web.Response:
        nonlocal count
        count += 1
        return web.Response(status=401)

    token = TokenFile(tmp_path / "token", SystemClock())
    async with listening(guard) as url, session(url, token) as http:
        assert (await http.request("GET", "/x", timeout=5)).status == 401
    assert count == 1


async def test_a_client_for_others_authenticates_too() -> None:
    async with listening(_echo) as url:
        client = open_client(Credentials(url, None, FixedToken("t")))
        async with client, client.get(f"{url}/version") as answer:
            assert (await answer.json())["headers"]["authorization"] == "Bearer t"


async def test_a_refused_connection_was_certainly_not_sent() -> None:
    async with listening(_echo) as url:
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


async def test_errors_never_show_the_token_or_the_query() -> None:
    async with listening(_echo) as url:
        pass
    async with session(url, FixedToken("very-secret")) as http:
        with pytest.raises(errors.TransientError) as caught:
            await http.request("GET", "/x", params={"q": "hidden"}, timeout=5)
    assert "secret" not in caught.value.message
    assert "hidden" not in caught.value.message
    assert "very-secret" not in repr(Credentials(url, None, FixedToken("very-secret")))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def test_the_servers_certificate_is_verified(authority: trustme.CA) -> None:
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_tls)
    trusted, foreign = ssl.create_default_context(), ssl.create_default_context()
    authority.configure_trust(trusted)
    trustme.CA().configure_trust(foreign)
    async with listening(_echo, server_tls) as url:
        async with session(url, tls=trusted) as http:
            assert (await http.request("GET", "/x", timeout=5)).status == 200
        async with session(url, tls=foreign) as http:
            with pytest.raises(errors.TransientError) as caught:
                await http.request("POST", "/x", body=b"", timeout=5)
            assert caught.value.reason == "Untrusted"


async def test_the_servers_name_can_differ_from_its_address(authority: trustme.CA) -> None:
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("kubernetes.example").configure_cert(server_tls)
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    async with listening(_echo, server_tls) as url:
        http = Session(Credentials(url, trusted, FixedToken(), "kubernetes.example"))
        assert (await http.request("GET", "/x", timeout=5)).status == 200
        await http.aclose()


async def test_a_client_certificate_is_shown(authority: trustme.CA) -> None:
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_tls)
    authority.configure_trust(server_tls)
    server_tls.verify_mode = ssl.CERT_REQUIRED
    ours = ssl.create_default_context()
    authority.configure_trust(ours)
    authority.issue_cert("client.example").configure_cert(ours)
    async with listening(_echo, server_tls) as url, session(url, tls=ours) as http:
        assert (await http.request("GET", "/x", timeout=5)).status == 200


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


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setitem(os.environ, name, "http://127.0.0.1:9")
    async with listening(_echo) as url, session(url) as http:
        assert (await http.request("GET", "/x", timeout=5)).status == 200


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


async def test_a_server_that_is_not_to_be_trusted_is_told_from_one_that_is_away(
    authority: trustme.CA,
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    foreign = ssl.create_default_context()
    trustme.CA().configure_trust(foreign)
    async with listening(_echo, context) as url, session(url, tls=foreign) as http:
        with pytest.raises(errors.TransientError, match="vouch for") as caught:
            await http.request("GET", "/", timeout=5)
        assert caught.value.reason == "Untrusted"
    async with session(url, tls=foreign) as http:
        with pytest.raises(errors.TransientError, match="cannot be reached") as caught:
            await http.request("GET", "/", timeout=5)
        assert caught.value.reason == "Unreachable"
