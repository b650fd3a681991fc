"""The same server on loopback sockets, with discovery, so that Kopf can talk to it."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.fakes.apiserver.faults import AnswerLostError, UnreachableError
from tests.fakes.apiserver.server import ApiServer
from tests.fakes.apiserver.wire import ADMIN, Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes.apiserver.kinds import Kind
    from tests.fakes.apiserver.wire import Answer

JSON = dict[str, Any]
SERVER = web.AppKey("server", ApiServer)
# Bearer token to user; without a token the user is ADMIN.
TOKENS: web.AppKey[dict[str, str]] = web.AppKey("tokens", dict)


def application(server: ApiServer, tokens: dict[str, str] | None = None) -> web.Application:
    app = web.Application(client_max_size=4 * 2**20)
    app[SERVER] = server
    app[TOKENS] = tokens if tokens is not None else {}
    app.router.add_get("/version", _fixed({"major": "1", "minor": "37", "gitVersion": "v1.37.2-fake"}))
    for path in ("/readyz", "/livez", "/healthz"):
        app.router.add_get(path, _fixed({}))
    app.router.add_get("/api", _fixed({"kind": "APIVersions", "versions": ["v1"]}))
    app.router.add_get("/apis", _groups)
    app.router.add_get("/api/v1", _resources)
    app.router.add_get("/apis/{group}/{version}", _resources)
    app.router.add_route("*", "/{path:.*}", _any)
    return app


@asynccontextmanager
async def serve(server: ApiServer, tokens: dict[str, str] | None = None) -> AsyncIterator[str]:
    """Serve on a free loopback port; yields the URL."""
    runner = web.AppRunner(application(server, tokens), shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        server.cut_watches()
        await runner.cleanup()


async def _any(request: web.Request) -> web.StreamResponse:
    server = request.app[SERVER]
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    tokens = request.app[TOKENS]
    if token and token not in tokens:
        return web.json_response(
            {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "reason": "Unauthorized",
                "code": 401,
            },
            status=401,
        )
    parsed = Request(
        request.method,
        request.path,
        dict(request.query),
        await request.read(),
        request.headers.get("Content-Type", ""),
        request.headers.get("Accept", "*/*"),
        tokens.get(token, ADMIN),
        request.headers.get("User-Agent", "unknown"),
    )
    try:
        answer = await server.handle(parsed)
    except (UnreachableError, AnswerLostError):
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)
    if answer.lines is None:
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
    return await _stream(request, answer)


async def _stream(request: web.Request, answer: Answer) -> web.StreamResponse:
    from tests.fakes.apiserver.watching import HALF_LINE

    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.enable_chunked_encoding()
    await response.prepare(request)
    lines: Any = answer.lines
    try:
        async for line in lines:
            if line is HALF_LINE:
                await response.write(line)
                if request.transport is not None:
                    request.transport.close()
                break
            await response.write(line + b"\n")
    finally:
        await lines.aclose()
    return response


def _fixed(body: JSON) -> Any:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(body)

    return answer


async def _groups(request: web.Request) -> web.Response:
    found = sorted(
        {(kind.resource.group, kind.resource.version) for kind in _kinds(request) if kind.resource.group}
    )
    groups = [
        {
            "name": group,
            "versions": [{"groupVersion": f"{group}/{version}", "version": version}],
            "preferredVersion": {"groupVersion": f"{group}/{version}", "version": version},
        }
        for group, version in found
    ]
    return web.json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})


async def _resources(request: web.Request) -> web.Response:
    group = request.match_info.get("group", "")
    version = request.match_info.get("version", "v1")
    entries: list[JSON] = []
    for kind in _kinds(request):
        if (kind.resource.group, kind.resource.version) != (group, version):
            continue
        verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
        entry = {
            "name": kind.resource.plural,
            "singularName": kind.resource.kind.lower(),
            "namespaced": kind.resource.namespaced,
            "kind": kind.resource.kind,
            "verbs": verbs,
        }
        entries.append(entry)
        if kind.status:
            entries.append(
                entry | {"name": f"{kind.resource.plural}/status", "verbs": ["get", "patch", "update"]}
            )
    if not entries:
        return web.Response(status=404, text="404 page not found\n")
    name = f"{group}/{version}" if group else version
    return web.Response(
        body=json.dumps(
            {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": entries}
        ),
        content_type="application/json",
    )


def _kinds(request: web.Request) -> list[Kind]:
    return list(request.app[SERVER].kinds.values())
