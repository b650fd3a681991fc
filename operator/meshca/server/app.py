"""The HTTP side of a replica: /healthz, /readyz, /metrics.

Decides how answers look; ``server.health`` decides what they say. Serves on every replica, leader or
not, in a loop that the engine does not share, so that a busy engine is seen and not felt. No request
body is read, nothing is logged for a request, and no answer holds more than sentences and figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from meshca.errors import MisconfiguredError
from meshca.server.health import unhealthy, unready

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from meshca.server.health import Facts

STOP_WITHIN: Final = 1.0
"""Seconds that an answer under way gets when the server stops."""


class HttpServer:
    """Listens from ``start`` to ``stop``; ``facts`` is called for each probe and must not block."""

    def __init__(self, facts: Callable[[], Facts], registry: CollectorRegistry) -> None:
        self._facts = facts
        self._registry = registry
        app = web.Application(client_max_size=1)
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
            ]
        )
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=STOP_WITHIN, keepalive_timeout=75
        )

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen and return the address; port 0 takes any free one.

        Raises ``MisconfiguredError`` when the address cannot be used.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise MisconfiguredError(f"cannot listen on {host} port {port}: {error.strerror}") from error
        bound = self._runner.addresses[0]
        return str(bound[0]), int(bound[1])

    async def stop(self) -> None:
        """Take no more connections and end those that are open."""
        await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _verdict(unhealthy(self._facts()))

    async def _readyz(self, _request: web.Request) -> web.Response:
        return _verdict(unready(self._facts()))

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})


def _verdict(problems: list[str]) -> web.Response:
    if problems:
        return web.Response(status=503, text="\n".join(problems) + "\n")
    return web.Response(text="ok\n")
