"""The reflector through everything that can happen to a watch."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshca.api.names import NAMESPACE, SECRET
from meshca.kube.gateway import Gateway
from meshca.kube.watch import Reflector
from tests.fakes.apiserver.server import ApiServer
from tests.fakes.apiserver.transport import FakeTransport
from tests.fakes.clock import LoopClock
from tests.fakes.heard import NS, Heard, running, secret, touch

pytestmark = pytest.mark.looptime

JSON = dict[str, Any]


@pytest.fixture
def server() -> ApiServer:
    return ApiServer(LoopClock())


async def test_it_lists_then_watches(server: ApiServer) -> None:
    secret(server, "a")
    async with running(Heard(server)) as heard:
        await heard.reflector.synced.wait()
        assert heard.take() == [("ADDED", "a")]
        secret(server, "b")
        touch(server, "a")
        server.delete(SECRET, "a", NS)
        await asyncio.sleep(1)
        assert heard.take() == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "a")]
        assert len(heard.reflector) == 1


async def test_selectors_and_namespace_go_to_the_server(server: ApiServer) -> None:
    server.create(NAMESPACE, {"metadata": {"name": "other"}})
    server.create(SECRET, {"metadata": {"name": "x", "namespace": "other", "labels": {"l": "1"}}})
    secret(server, "a", l="1")
    secret(server, "b")
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
        touch(server, "a")
        await asyncio.sleep(1)
        assert "data" not in heard.objects["a"]
        assert heard.objects["a"]["kind"] == "Secret"


async def test_a_dropped_connection_resumes_without_a_repetition(server: ApiServer) -> None:
    secret(server, "a")
    async with running(Heard(server)) as heard:
        await asyncio.sleep(10)
        heard.take()
        for half_line in (False, True):
            server.cut_watches(half_line=half_line)
            secret(server, f"while-away-{half_line}".lower())
            server.delete(SECRET, "a", NS) if half_line else touch(server, "a")
            await asyncio.sleep(10)
        assert heard.take() == [
            ("ADDED", "while-away-false"),
            ("MODIFIED", "a"),
            ("ADDED", "while-away-true"),
            ("DELETED", "a"),
        ]


async def test_what_vanished_before_a_410_is_delivered_as_deleted(server: ApiServer) -> None:
    gone = secret(server, "gone", l="1")
    remade = secret(server, "remade")
    for name in ("kept", "changed"):
        secret(server, name)
    async with running(Heard(server)) as heard:
        await asyncio.sleep(10)
        heard.take()
        server.cut_watches()
        server.delete(SECRET, "gone", NS)
        server.delete(SECRET, "remade", NS)
        secret(server, "remade")
        touch(server, "changed")
        secret(server, "new")
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
        secret(server, "after")
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
        secret(server, "unheard")
        await asyncio.sleep(55)
        assert heard.take() == []
        await asyncio.sleep(10)
        assert heard.take() == [("ADDED", "unheard")]


async def test_server_that_accepts_watches_and_has_nothing_to_say_is_no_dead_one(server: ApiServer) -> None:
    async with running(Heard(server)) as heard:
        ages = []
        for _ in range(80):
            server.silence_watches()
            await asyncio.sleep(10)
            ages.append(LoopClock().monotonic() - heard.reflector.last_activity)
        assert 60 < max(ages) < 90


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
        secret(server, "a")
        await asyncio.sleep(1)
        assert heard.take() == [("ADDED", "a")]
    assert lists.hits == 1


async def test_the_server_may_end_a_watch_every_five_minutes(server: ApiServer) -> None:
    watches = server.fault(verb="watch", times=None, before=lambda _info: None)
    lists = server.fault(verb="list", times=None, before=lambda _info: None)
    async with running(Heard(server)) as heard:
        await asyncio.sleep(3605)
        secret(server, "a")
        await asyncio.sleep(1)
        assert heard.take() == [("ADDED", "a")]
    assert watches.hits == 13
    assert lists.hits == 1


async def test_failures_and_signs_of_life_are_heard(server: ApiServer) -> None:
    said: list[str] = []
    heard = Heard(server, heard=lambda error: said.append(error.message if error else ""))
    async with running(heard):
        await heard.reflector.synced.wait()
        await asyncio.sleep(10)
        assert set(said) == {""}
        server.down = True
        server.cut_watches()
        await asyncio.sleep(5)
        assert said[-1] != ""
        server.down = False
        await asyncio.sleep(60)
        assert said[-1] == ""


async def test_122_no_watch_goes_on_from_an_old_version_where_versions_may_go_back(server: ApiServer) -> None:
    secret(server, "a")
    async with running(Heard(server, lists_anew=True)) as heard:
        await heard.reflector.synced.wait()
        heard.take()
        # Restored from a backup that is older than what was read, and with another object in it.
        server.delete(SECRET, "a", NS)
        secret(server, "b")
        heard.take()
        heard.reflector._version = "999999"
        server.cut_watches()
        await asyncio.sleep(60)
        assert sorted(heard.objects) == ["b"]
        secret(server, "c")
        await asyncio.sleep(1)
        assert sorted(heard.objects) == ["b", "c"]
