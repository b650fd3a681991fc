"""The reflector when lists and watches are refused: how long it waits, what it says."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from meshca.api.names import SECRET
from meshca.kube.gateway import Gateway
from meshca.kube.watch import Reflector
from tests.fakes.apiserver import status
from tests.fakes.apiserver.server import ApiServer
from tests.fakes.apiserver.transport import FakeTransport
from tests.fakes.clock import LoopClock
from tests.fakes.heard import Heard, running, secret

if TYPE_CHECKING:
    from meshca.kube.answers import WatchEvent

pytestmark = pytest.mark.looptime

JSON = dict[str, Any]


@pytest.fixture
def server() -> ApiServer:
    return ApiServer(LoopClock())


@pytest.mark.parametrize("verb", ["list", "watch"])
@pytest.mark.parametrize(
    "error",
    [status.unauthorized(), status.forbidden(SECRET, "", "no"), status.internal(), status.unavailable()],
    ids=["401", "403", "500", "503"],
)
async def test_refusals_are_waited_out(
    server: ApiServer, caplog: pytest.LogCaptureFixture, verb: str, error: status.ApiError
) -> None:
    caplog.set_level(logging.INFO, "meshca.kube")
    fault = server.fault(verb=verb, error=error, times=8)
    secret(server, "a")
    async with running(Heard(server)) as heard:
        await asyncio.sleep(5)
        assert heard.reflector.synced.is_set() == (verb == "watch")
        assert heard.reflector.last_error
        await asyncio.sleep(200)
        assert heard.take() == [("ADDED", "a")]
        assert heard.reflector.last_error == ""
    assert fault.hits == 8
    lines = [record.message for record in caplog.records]
    assert len([line for line in lines if "next attempt" in line]) == 1, "a lasting failure is one line"
    assert lines[-1] == "secrets are watched again"
    refused = error.code == 403
    assert (caplog.records[0].levelno == logging.WARNING) == refused


async def test_attempts_grow_rarer(server: ApiServer) -> None:
    server.down = True
    at: list[float] = []
    heard = Heard(server)
    original = heard.reflector._backoff.next

    def noted(at_least: float = 0.0) -> float:
        at.append(LoopClock().monotonic())
        return original(at_least)

    heard.reflector._backoff.next = noted  # type: ignore[method-assign]
    async with running(heard):
        await asyncio.sleep(600)
    assert 20 < len(at) < 50
    gaps = [b - a for a, b in pairwise(at)]
    assert max(gaps) <= 30
    assert min(gaps[-5:]) >= 15


async def test_retry_after_is_obeyed(server: ApiServer) -> None:
    server.fault(verb="list", error=status.too_many(20))
    async with running(Heard(server)) as heard:
        await asyncio.sleep(19)
        assert not heard.reflector.synced.is_set()
        await asyncio.sleep(2)
        assert heard.reflector.synced.is_set()


async def test_a_failure_long_after_another_is_retried_quickly(server: ApiServer) -> None:
    async with running(Heard(server)) as heard:
        for _ in range(20):
            # Sooner than a bookmark, which would be a success of its own.
            await asyncio.sleep(30)
            server.cut_watches(half_line=True)
        secret(server, "a")
        await asyncio.sleep(1.1)
        assert heard.take() == [("ADDED", "a")]


async def test_a_server_that_ends_each_watch_at_once_is_not_hammered(server: ApiServer) -> None:
    watches = server.fault(verb="watch", times=None, before=lambda _info: _cut_soon(server))
    async with running(Heard(server)):
        await asyncio.sleep(600)
    assert watches.hits < 60


def _cut_soon(server: ApiServer) -> None:
    asyncio.get_running_loop().call_later(0.5, server.cut_watches)


async def test_a_page_token_that_expires_makes_the_next_list_whole(server: ApiServer) -> None:
    for number in range(600):
        secret(server, f"s{number}")
    lists = server.fault(verb="list", before=lambda _info: None, times=1)
    server.fault(verb="list", before=lambda _info: server.compact(), times=1)
    async with running(Heard(server)) as heard:
        await asyncio.sleep(5)
        assert len(heard.objects) == 600
        assert len(heard.events) == 600, "pages seen before the token expired are not repeated"
    assert lists.hits == 1


async def test_what_the_handler_raises_ends_the_reflector(server: ApiServer) -> None:
    def handler(_event: WatchEvent) -> None:
        raise TimeoutError("a bug, not a silent watch")

    reflector = Reflector(Gateway(FakeTransport(server)), SECRET, handler=handler)
    task = asyncio.create_task(reflector.run())
    await asyncio.sleep(1)
    secret(server, "a")
    with pytest.raises(TimeoutError, match="a bug"):
        await task


async def test_a_list_without_a_version_is_not_trusted(server: ApiServer) -> None:
    heard = Heard(server)
    server.store.version = ""  # type: ignore[assignment]
    async with running(heard):
        await asyncio.sleep(1)
        assert "no resourceVersion" in heard.reflector.last_error
        assert not heard.reflector.synced.is_set()


async def test_a_kind_that_may_be_refused_keeps_nobody_waiting_and_counts_as_alive(server: ApiServer) -> None:
    fault = server.fault(verb="list", error=status.forbidden(SECRET, "", "no"), times=None)
    secret(server, "a")
    async with running(Heard(server, may_be_refused=True)) as heard:
        await asyncio.sleep(1000)
        assert heard.reflector.synced.is_set()
        assert LoopClock().monotonic() - heard.reflector.last_activity <= 31
        assert fault.hits < 100
        fault.times = 0
        await asyncio.sleep(31)
        assert heard.take() == [("ADDED", "a")]
