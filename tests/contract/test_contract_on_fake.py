"""The contract on the in-process API server: in memory in virtual time, and over loopback HTTP."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from meshca.api.names import NAMESPACE
from meshca.kube.credentials import Credentials, FixedToken
from meshca.kube.session import Session
from tests.contract import cases
from tests.contract.harness import CASES, GADGET, WIDGET, Contract, crd
from tests.fakes.apiserver import kinds, status
from tests.fakes.apiserver.http import serve
from tests.fakes.apiserver.server import ApiServer
from tests.fakes.apiserver.transport import FakeTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from meshca.kube.transport import Transport
    from tests.fakes.apiserver.writes import Admission

    Dial = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]

NAME = "contract-ns"


def _server() -> ApiServer:
    server = ApiServer()
    server.register(kinds.from_crd(crd(WIDGET)), kinds.from_crd(crd(GADGET)))
    server.create(NAMESPACE, {"metadata": {"name": NAME}})
    return server


def _contract(
    server: ApiServer, transport: Transport, crowd: Transport, dial: Dial | None = None
) -> Contract:
    async def compact() -> None:
        server.compact()

    def enforce(policy: str, says: str, reason: str) -> None:
        def check(asked: Admission) -> None:
            if asked.kind.resource == WIDGET and asked.new is not None and _is_unwanted(asked.new):
                name = asked.new["metadata"]["name"]
                raise status.denied(WIDGET, name, says, policy=policy, binding=policy, reason=reason)

        server.writer.admission.append(check)

    @asynccontextmanager
    async def crowded() -> AsyncIterator[Transport]:
        fault = server.fault(user="crowd", times=None, error=status.too_many(1))
        yield crowd
        server.faults.remove(fault)

    @asynccontextmanager
    async def hung() -> AsyncIterator[None]:
        faults = [server.fault(verb=verb, times=None, delay=1e9) for verb in ("get", "list")]
        faults.append(server.fault(writes_only=True, times=None, delay=1e9))
        yield
        for fault in faults:
            server.faults.remove(fault)

    return Contract(transport, NAME, compact, enforce=enforce, crowded=crowded, hung=hung, dial=dial)


def _is_unwanted(item: dict[str, Any]) -> bool:
    return "unwanted" in (item["spec"].get("color"), item.get("status", {}).get("a"))


@pytest.mark.looptime
@pytest.mark.parametrize("name", [name for name in CASES if name not in cases.SOCKETS])
async def test_in_memory(name: str) -> None:
    server = _server()
    await CASES[name](_contract(server, FakeTransport(server), FakeTransport(server, "crowd")))


@pytest.mark.parametrize("name", [name for name in CASES if name not in cases.SLOW])
async def test_over_http(name: str) -> None:
    server = _server()
    async with serve(server, {"crowd": "crowd"}) as url:
        admin, crowd = (Session(Credentials(url, None, FixedToken(token))) for token in ("", "crowd"))
        address = urlsplit(url)

        async def dial() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await asyncio.open_connection(address.hostname, address.port)

        try:
            await CASES[name](_contract(server, admin, crowd, dial))
        finally:
            await admin.aclose()
            await crowd.aclose()
