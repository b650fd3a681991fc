"""Giving the Lease up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes.apiserver.server import ApiServer
from tests.fakes.candidates import candidates, lease_spec
from tests.fakes.clock import LoopClock

pytestmark = pytest.mark.looptime

JSON = dict[str, Any]


@pytest.fixture
def server() -> ApiServer:
    return ApiServer(LoopClock())


async def test_release_hands_over_within_two_retries(server: ApiServer) -> None:
    async with candidates(server, "a") as [a]:
        await a.elector.acquired.wait()
        async with candidates(server, "b") as [b]:
            await asyncio.sleep(5)
            a.task.cancel()
            await asyncio.gather(a.task, return_exceptions=True)
            assert a.elector.is_leader, "cancelling alone gives nothing up"
            released = a.clock.monotonic()
            await a.elector.release()
            assert a.elector.remaining() == 0.0
            assert a.elector.lost.is_set()
            spec = lease_spec(server)
            assert spec["holderIdentity"] == ""
            assert spec["leaseDurationSeconds"] == 1
            await b.elector.acquired.wait()
            assert b.clock.monotonic() - released < 4.5
            assert lease_spec(server)["leaseTransitions"] == 2


async def test_release_after_a_renewal_that_was_cancelled_in_flight(server: ApiServer) -> None:
    async with candidates(server, "a") as [a]:
        await a.elector.acquired.wait()
        server.fault(verb="update", late=0.1)
        await asyncio.sleep(2.05)
        a.task.cancel()
        await asyncio.gather(a.task, return_exceptions=True)
        await asyncio.sleep(0.2)
        await a.elector.release()
        assert lease_spec(server)["holderIdentity"] == ""


async def test_a_release_that_fails_is_left_to_the_others_patience(server: ApiServer) -> None:
    async with candidates(server, "a") as [a]:
        await a.elector.acquired.wait()
        a.task.cancel()
        await asyncio.gather(a.task, return_exceptions=True)
        for fault in ({"unreachable": True}, {"delay": 100.0}):
            server.fault(user=a.user, times=None, **fault)
            before = a.clock.monotonic()
            await a.elector.release()
            assert a.clock.monotonic() - before <= 2.1
        assert a.elector.remaining() == 0.0
        assert lease_spec(server)["holderIdentity"] == "a"


async def test_who_never_led_releases_nothing(server: ApiServer) -> None:
    async with candidates(server, "a") as [a]:
        await a.elector.acquired.wait()
        async with candidates(server, "b") as [b]:
            await asyncio.sleep(3)
            await b.elector.release()
            assert lease_spec(server)["holderIdentity"] == "a"
            assert not b.elector.lost.is_set()
