"""Whom the HTTP session trusts and what it shows of itself: TLS both ways, tokens, proxies."""

from __future__ import annotations

import json
import os
import ssl
from typing import TYPE_CHECKING

import pytest
import trustme
from aiohttp import web

from meshca import errors
from meshca.clock import SystemClock
from meshca.kube.credentials import Credentials, FixedToken, TokenFile
from meshca.kube.session import Session, open_client

if TYPE_CHECKING:
    from pathlib import Path
from tests.fakes.listening import echo, listening, session


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
    async with listening(echo) as url:
        client = open_client(Credentials(url, None, FixedToken("t")))
        async with client, client.get(f"{url}/version") as answer:
            assert (await answer.json())["headers"]["authorization"] == "Bearer t"


async def test_errors_never_show_the_token_or_the_query() -> None:
    async with listening(echo) as url:
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
    async with listening(echo, server_tls) as url:
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
    async with listening(echo, server_tls) as url:
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
    async with listening(echo, server_tls) as url, session(url, tls=ours) as http:
        assert (await http.request("GET", "/x", timeout=5)).status == 200


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setitem(os.environ, name, "http://127.0.0.1:9")
    async with listening(echo) as url, session(url) as http:
        assert (await http.request("GET", "/x", timeout=5)).status == 200


async def test_a_server_that_is_not_to_be_trusted_is_told_from_one_that_is_away(
    authority: trustme.CA,
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    foreign = ssl.create_default_context()
    trustme.CA().configure_trust(foreign)
    async with listening(echo, context) as url, session(url, tls=foreign) as http:
        with pytest.raises(errors.TransientError, match="vouch for") as caught:
            await http.request("GET", "/", timeout=5)
        assert caught.value.reason == "Untrusted"
    async with session(url, tls=foreign) as http:
        with pytest.raises(errors.TransientError, match="cannot be reached") as caught:
            await http.request("GET", "/", timeout=5)
        assert caught.value.reason == "Unreachable"
