"""Events: counted instead of repeated, dropped instead of waited for."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from meshca.api.names import CA_ROOT, EVENT, LEAF
from meshca.kube.events import SERIES_KEPT, EventRecorder
from meshca.kube.gateway import Gateway
from tests.fakes.apiserver import status
from tests.fakes.apiserver.server import ApiServer
from tests.fakes.apiserver.transport import FakeTransport
from tests.fakes.clock import LoopClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.looptime

JSON = dict[str, Any]
NS = "default"


@pytest.fixture
def server() -> ApiServer:
    return ApiServer(LoopClock())


@pytest.fixture
def leaf(server: ApiServer) -> JSON:
    return server.create(LEAF, {"metadata": {"name": "w", "namespace": NS}, "spec": {}})


class Drops:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@asynccontextmanager
async def recording(
    server: ApiServer, drops: Drops | None = None, size: int = 16
) -> AsyncIterator[EventRecorder]:
    recorder = EventRecorder(
        Gateway(FakeTransport(server)),
        LoopClock(),
        instance="pod-1",
        on_drop=drops or Drops(),
        queue_size=size,
    )
    task = asyncio.create_task(recorder.run())
    try:
        yield recorder
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _say(recorder: EventRecorder, about: JSON, note: str = "why", reason: str = "Denied") -> None:
    recorder.record(about, kind="Warning", reason=reason, note=note)


async def test_an_event_says_who_what_and_why(server: ApiServer, leaf: JSON) -> None:
    async with recording(server) as recorder:
        _say(recorder, leaf)
        await recorder.drain()
    (event,) = server.all(EVENT)
    assert event["metadata"]["namespace"] == NS
    assert event["regarding"]["uid"] == leaf["metadata"]["uid"]
    assert event["regarding"]["kind"] == "LeafCertificateRequest"
    assert (event["type"], event["reason"], event["note"]) == ("Warning", "Denied", "why")
    assert event["reportingInstance"] == "pod-1"
    assert event["eventTime"] == "2026-03-01T00:00:00.000000Z"


async def test_events_about_cluster_scoped_objects_live_in_default(server: ApiServer) -> None:
    root = server.create(CA_ROOT, {"metadata": {"name": "r"}, "spec": {}})
    async with recording(server) as recorder:
        _say(recorder, root)
        await recorder.drain()
    assert [event["metadata"]["namespace"] for event in server.all(EVENT)] == ["default"]


async def test_repetitions_become_one_series(server: ApiServer, leaf: JSON) -> None:
    async with recording(server) as recorder:
        for _ in range(200):
            _say(recorder, leaf)
            await recorder.drain()
            await asyncio.sleep(3)
    (event,) = server.all(EVENT)
    assert 100 < event["series"]["count"] <= 200
    assert len(server.writes(EVENT)) <= 4, "ten minutes of it are one create and a patch now and then"


async def test_different_things_are_different_events(server: ApiServer, leaf: JSON) -> None:
    other = server.create(LEAF, {"metadata": {"name": "v", "namespace": NS}, "spec": {}})
    async with recording(server) as recorder:
        _say(recorder, leaf)
        _say(recorder, other)
        _say(recorder, leaf, note="why else")
        _say(recorder, leaf, reason="InvalidRequest")
        recorder.record(leaf, kind="Normal", reason="Denied", note="why")
        await recorder.drain()
    assert len(server.all(EVENT)) == 5


async def test_after_a_long_silence_the_same_is_news_again(server: ApiServer, leaf: JSON) -> None:
    async with recording(server) as recorder:
        for _ in range(2):
            _say(recorder, leaf)
            await recorder.drain()
            await asyncio.sleep(400)
    assert [event.get("series") for event in server.all(EVENT)] == [None, None]


async def test_an_event_that_the_server_forgot_is_made_anew(server: ApiServer, leaf: JSON) -> None:
    async with recording(server) as recorder:
        _say(recorder, leaf)
        await recorder.drain()
        server.delete(EVENT, server.all(EVENT)[0]["metadata"]["name"], NS)
        _say(recorder, leaf)
        await recorder.drain()
    assert len(server.all(EVENT)) == 1


async def test_too_many_at_once_are_dropped_and_counted(server: ApiServer, leaf: JSON) -> None:
    drops = Drops()
    async with recording(server, drops, size=10) as recorder:
        for number in range(50):
            _say(recorder, leaf, note=str(number))
        assert drops.count == 40
        await recorder.drain()
    assert len(server.all(EVENT)) == 10


@pytest.mark.parametrize(
    "fault",
    [{"error": status.internal()}, {"error": status.too_many(60)}, {"unreachable": True}, {"delay": 60.0}],
    ids=["500", "429", "unreachable", "slow"],
)
async def test_a_failed_write_costs_that_event_only(server: ApiServer, leaf: JSON, fault: JSON) -> None:
    drops = Drops()
    server.fault(resource=EVENT, **fault)
    async with recording(server, drops) as recorder:
        _say(recorder, leaf, note="lost")
        _say(recorder, leaf, note="kept")
        await recorder.drain()
    assert drops.count == 1
    assert [event["note"] for event in server.all(EVENT)] == ["kept"]


async def test_notes_are_cut_to_what_the_api_takes(server: ApiServer, leaf: JSON) -> None:
    async with recording(server) as recorder:
        _say(recorder, leaf, note="x" + "ä" * 2000)
        await recorder.drain()
    (event,) = server.all(EVENT)
    assert len(event["note"].encode()) == 1023


async def test_memory_of_series_is_bounded(server: ApiServer, leaf: JSON) -> None:
    async with recording(server, size=4096) as recorder:
        for number in range(SERIES_KEPT + 5):
            _say(recorder, leaf, note=str(number))
        await recorder.drain()
        assert len(recorder._series) == SERIES_KEPT


async def test_an_object_without_metadata_breaks_nothing(server: ApiServer) -> None:
    async with recording(server) as recorder:
        recorder.record({}, kind="Normal", reason="Odd", note="")
        await recorder.drain()
    assert len(server.all(EVENT)) == 1
