"""Servers on loopback sockets, and sessions towards them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import web

from meshca.kube.credentials import Credentials, FixedToken
from meshca.kube.session import Session

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable


@asynccontextmanager
async def listening(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve every path by one handler and yield the server's URL."""
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
    """Open a session with a token, anonymous by default, and with what ``Session`` takes."""
    made = Session(Credentials(url, more.pop("tls", None), token or FixedToken()), **more)
    try:
        yield made
    finally:
        await made.aclose()
        await asyncio.sleep(0.01)


async def echo(request: web.Request) -> web.Response:
    """Answer with what came."""
    seen = {
        "method": request.method,
        "path": request.raw_path,
        "headers": {name.lower(): value for name, value in request.headers.items()},
        "body": (await request.read()).decode(),
    }
    return web.json_response(seen, headers={"X-Mixed-Case": "1"})
