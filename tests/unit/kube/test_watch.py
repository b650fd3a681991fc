"""The reflector through everything that can happen to a watch."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from meshca.api.names import NAMESPACE, SECRET
from meshca.kube.backoff import Backoff
from meshca.kube.gateway import Gateway
from meshca.kube.watch import Reflector
from tests.fakes.apiserver import status
from tests.fakes.apiserver.server import ApiServer
from tests.fakes.apiserver.transport import FakeTransport
from tests.fakes.clock import LoopClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from meshca.kube.gateway import WatchEvent

pytestmark = pytest.mark.looptime

JSON = dict[str, Any]
NS = "default"


@pytest.fixture
def server() -> ApiServer:
    return ApiServer(LoopClock())


class Heard:
    """A reflector of Secrets and what its handler was told."""

    def __init__(self, server: ApiServer, **more: Any) -> None:
        self.events: list[tuple[str, str]] = []
        self.objects: dict[str, JSON] = {}
        self.deleted: list[JSON] = []
        self.reflector = Reflector(
            Gateway(FakeTransport(server)),
            SECRET,
            handler=self._handle,
            clock=LoopClock(),
            backoff=Backoff(0.5, 30.0, random.Random(7)),
            **more,
        )

    def _handle(self, event: WatchEvent) -> None:
        name = event.object["metadata"]["name"]
        self.events.append((event.type, name))
        if event.type == "DELETED":
            self.deleted.append(event.object)
            del self.objects[name]
        else:
            assert (event.type == "ADDED") == (name not in self.objects), "ADDED exactly once"
            self.objects[name] = event.object

    def take(self) -> list[tuple[str, str]]:
        found, self.events = self.events, []
        return found


@asynccontextmanager
async def running(heard: Heard) -> AsyncIterator[Heard]:
    task = asyncio.create_task(heard.reflector.run())
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _secret(server: ApiServer, name: str, **labels: str) -> JSON:
    return server.create(SECRET, {"metadata": {"name": name, "namespace": NS, "labels": labels}})


def _touch(server: ApiServer, name: str) -> None:
    server.merge(SECRET, name, NS, {"metadata": {"annotations": {"n": str(server.store.version)}}})


async def test_it_lists_then_watches(server: ApiServer) -> None:
    _secret(server, "a")
    async with running(Heard(server)) as heard:
        await heard.reflector.synced.wait()
        assert heard.take() == [("ADDED", "a")]
        _secret(server, "b")
        _touch(server, "a")
        server.delete(SECRET, "a", NS)
        await asyncio.sleep(1)
        assert heard.take() == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "a")]
        assert len(heard.reflector) == 1


async def test_selectors_and_namespace_go_to_the_server(server: ApiServer) -> None:
    server.create(NAMESPACE, {"metadata": {"name": "other"}})
    server.create(SECRET, {"metadata": {"name": "x", "namespace": "other", "labels": {"l": "1"}}})
    _secret(server, "a", l="1")
    _secret(server, "b")
    heard = Heard(server, namespace=NS, label_selector="l=1", field_selector="metadata.name!=zzz")
    async with running(heard):
        await heard.reflector.synced.wait()
        server.merge(SECRET, "a", NS, {"metadata": {"labels": {"l": "2"}}})
        await asyncio.sleep(1)
        assert heard.take() == [("ADDED", "a"), ("DELETED", "a")]


async def test_metadata_is_enough_when_asked_for(server: ApiServer) -> None:
    server.create(SECRET, {"metadata": {"name": "a", "namespace": NS}, "data": {"k": "QQ=="}})
    async with running(Heard(server, metadata_only=True)) as heard:
        await heard.reflector.synced.wait()
        _touch(server, "a")
        await asyncio.sleep(1)
        assert "data" not in heard.objects["a"]
        assert heard.objects["a"]["kind"] == "Secret"


async def test_a_dropped_connection_resumes_without_a_repetition(server: ApiServer) -> None:
    _secret(server, "a")
    async with running(Heard(server)) as heard:
        await asyncio.sleep(10)
        heard.take()
        for half_line in (False, True):
            server.cut_watches(half_line=half_line)
            _secret(server, f"while-away-{half_line}".lower())
            server.delete(SECRET, "a", NS) if half_line else _touch(server, "a")
            await asyncio.sleep(10)
        assert heard.take() == [
            ("ADDED", "while-away-false"),
            ("MODIFIED", "a"),
            ("ADDED", "while-away-true"),
            ("DELETED", "a"),
        ]


async def test_what_vanished_before_a_410_is_delivered_as_deleted(server: ApiServer) -> None:
    gone = _secret(server, "gone", l="1")
    remade = _secret(server, "remade")
    for name in ("kept", "changed"):
        _secret(server, name)
    async with running(Heard(server)) as heard:
        await asyncio.sleep(10)
        heard.take()
        server.cut_watches()
        server.delete(SECRET, "gone", NS)
        server.delete(SECRET, "remade", NS)
        _secret(server, "remade")
        _touch(server, "changed")
        _secret(server, "new")
        server.compact()
        await asyncio.sleep(10)
        assert sorted(heard.take()) == [
            ("ADDED", "new"),
            ("ADDED", "remade"),
            ("DELETED", "gone"),
            ("DELETED", "remade"),
            ("MODIFIED", "changed"),
        ]
        by_uid = {item["metadata"]["uid"]: item for item in heard.deleted}
        assert by_uid.keys() == {gone["metadata"]["uid"], remade["metadata"]["uid"]}
        assert by_uid[gone["metadata"]["uid"]] == {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": "gone",
                "namespace": NS,
                "uid": gone["metadata"]["uid"],
                "resourceVersion": gone["metadata"]["resourceVersion"],
            },
        }
        _secret(server, "after")
        await asyncio.sleep(1)
        assert heard.take() == [("ADDED", "after")]


async def test_cluster_scoped_objects_have_no_namespace_when_they_vanish(server: ApiServer) -> None:
    deleted: list[JSON] = []
    server.create(NAMESPACE, {"metadata": {"name": "x"}, "spec": {"finalizers": []}})
    reflector = Reflector(
        Gateway(FakeTransport(server)),
        NAMESPACE,
        handler=lambda event: deleted.append(event.object) if event.type == "DELETED" else None,
    )
    task = asyncio.create_task(reflector.run())
    await asyncio.sleep(10)
    server.cut_watches()
    server.delete(NAMESPACE, "x")
    server.compact()
    await asyncio.sleep(10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [set(item["metadata"]) for item in deleted] == [{"name", "uid", "resourceVersion"}]


async def test_a_silent_connection_is_given_up_after_70_seconds(server: ApiServer) -> None:
    async with running(Heard(server)) as heard:
        await asyncio.sleep(10)
        assert server.silence_watches() == 1
        _secret(server, "unheard")
        await asyncio.sleep(55)
        assert heard.take() == []
        await asyncio.sleep(10)
        assert heard.take() == [("ADDED", "unheard")]


async def test_bookmarks_keep_a_quiet_watch_alive(server: ApiServer) -> None:
    async with running(Heard(server)) as heard:
        await asyncio.sleep(290)
        assert LoopClock().monotonic() - heard.reflector.last_activity < 61
        assert len(server.store.feeds[SECRET]) == 1
        assert heard.reflector.last_error == ""


async def test_bookmarks_move_the_version_so_that_others_history_does_not_matter(server: ApiServer) -> None:
    lists = server.fault(verb="list", resource=SECRET, times=None, before=lambda _info: None)
    async with running(Heard(server)) as heard:
        await asyncio.sleep(50)
        server.create(NAMESPACE, {"metadata": {"name": "elsewhere"}})
        await asyncio.sleep(15)
        server.compact()
        server.store.compacted -= 1
        server.cut_watches()
        await asyncio.sleep(10)
        _secret(server, "a")
        await asyncio.sleep(1)
        assert heard.take() == [("ADDED", "a")]
    assert lists.hits == 1


async def test_the_server_may_end_a_watch_every_five_minutes(server: ApiServer) -> None:
    watches = server.fault(verb="watch", times=None, before=lambda _info: None)
    lists = server.fault(verb="list", times=None, before=lambda _info: None)
    async with running(Heard(server)) as heard:
        await asyncio.sleep(3605)
        _secret(server, "a")
        await asyncio.sleep(1)
        assert heard.take() == [("ADDED", "a")]
    assert watches.hits == 13
    assert lists.hits == 1


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
    _secret(server, "a")
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
            await asyncio.sleep(60)
            server.cut_watches()
        _secret(server, "a")
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
        _secret(server, f"s{number}")
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
    _secret(server, "a")
    with pytest.raises(TimeoutError, match="a bug"):
        await task


async def test_a_list_without_a_version_is_not_trusted(server: ApiServer) -> None:
    heard = Heard(server)
    server.store.version = ""  # type: ignore[assignment]
    async with running(heard):
        await asyncio.sleep(1)
        assert "no resourceVersion" in heard.reflector.last_error
        assert not heard.reflector.synced.is_set()
