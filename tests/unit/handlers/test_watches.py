"""Kopf against an API server over sockets: it tells of every change and writes nothing."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import kopf
import pytest

from meshca.api import names
from meshca.handlers import watches
from meshca.handlers.storages import NullDiffBaseStorage, NullProgressStorage
from tests.fakes import pki
from tests.fakes.apiserver.http import serve
from tests.fakes.apiserver.server import ApiServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from meshca.engine.intake import Intake

JSON = dict[str, Any]
WAIT = 15.0


class Told:
    """An intake that remembers what it was told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []
        self.threads: set[int] = set()
        self.federation = self

    def cluster(self, event: str, body: Mapping[str, Any]) -> None:
        self._note("cluster", event, body)

    def request(self, event: str, body: Mapping[str, Any]) -> None:
        self._note("request", event, body)

    def configuration(self, event: str, body: Mapping[str, Any]) -> None:
        self._note("configuration", event, body)

    def root(self, event: str, body: Mapping[str, Any]) -> None:
        self._note("root", event, body)

    def _note(self, kind: str, event: str, body: Mapping[str, Any]) -> None:
        assert type(body) is dict, "Kopf's view is slow"
        self.threads.add(threading.get_ident())
        self.events.append((kind, event, str(body["metadata"]["name"])))

    async def until(self, wanted: tuple[str, str, str]) -> None:
        await self._until(lambda: wanted in self.events)

    async def until_named(self, wanted: str) -> None:
        await self._until(lambda: any(name == wanted for _, _, name in self.events))

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT):
            while not holds():  # noqa: ASYNC110  told from a handler without a place to signal
                await asyncio.sleep(0.02)


@asynccontextmanager
async def watching(server: ApiServer, told: Told) -> AsyncIterator[None]:
    async with serve(server) as url:

        def login() -> kopf.ConnectionInfo:
            return kopf.ConnectionInfo(server=url, insecure=True)

        stop = threading.Event()
        registry = watches.registry_for(cast("Intake", told), login)
        task = asyncio.create_task(watches.watch(registry, stop))
        try:
            yield
        finally:
            stop.set()
            async with asyncio.timeout(WAIT):
                await task


def root(server: ApiServer, name: str) -> JSON:
    return server.create(names.CA_ROOT, {"metadata": {"name": name, "finalizers": []}, "spec": {}})


async def test_every_change_is_told_in_the_loops_own_thread_and_kopf_writes_nothing() -> None:
    server, told = ApiServer(), Told()
    root(server, "old")
    server.create(names.CA_CONFIGURATION, {"metadata": {"name": "default"}, "spec": {}})
    server.audit.clear()
    async with watching(server, told):
        await told.until(("root", "", "old"))
        await told.until(("configuration", "", "default"))
        root(server, "new")
        await told.until(("root", "ADDED", "new"))
        server.merge(names.CA_ROOT, "new", "", {"status": {"state": "Active"}}, subresource="status")
        await told.until(("root", "MODIFIED", "new"))
        server.delete(names.CA_ROOT, "new", "")
        await told.until(("root", "DELETED", "new"))
    assert told.threads == {threading.get_ident()}
    assert server.audit == []
    kept = server.find(names.CA_ROOT, "old")
    assert kept is not None
    assert not kept["metadata"].get("finalizers")
    assert "annotations" not in kept["metadata"]


async def test_leaves_do_not_pass_through_kopf() -> None:
    server, told = ApiServer(), Told()
    spec = {"serviceAccountName": "web", "request": pki.request()}
    server.create(names.LEAF, {"metadata": {"name": "web", "namespace": "default"}, "spec": spec})
    root(server, "old")
    async with watching(server, told):
        await told.until(("root", "", "old"))
        root(server, "new")
        await told.until(("root", "ADDED", "new"))
        assert not server.store.feeds.get(names.LEAF)


async def test_events_of_one_object_come_in_order_and_none_is_left_out_after_a_broken_watch() -> None:
    server, told = ApiServer(), Told()
    root(server, "old")
    async with watching(server, told):
        await told.until(("root", "", "old"))
        server.cut_watches(names.CA_ROOT)
        root(server, "late")
        await told.until_named("late")
        server.delete(names.CA_ROOT, "late", "")
        await told.until(("root", "DELETED", "late"))
    order = [event for _, event, name in told.events if name == "late"]
    assert order[-1] == "DELETED"
    assert set(order[:-1]) <= {"", "ADDED"}


def test_settings_keep_kopf_from_writing_and_from_crd_scans() -> None:
    chosen = watches.settings()
    assert not chosen.posting.enabled
    assert chosen.scanning.disabled
    assert isinstance(chosen.persistence.diffbase_storage, NullDiffBaseStorage)
    assert isinstance(chosen.persistence.progress_storage, NullProgressStorage)
    assert chosen.watching.server_timeout is not None


@pytest.mark.parametrize("call", ["fetch", "store", "purge", "touch"])
def test_progress_is_stored_nowhere(call: str) -> None:
    patch = kopf.Patch({})
    assert getattr(NullProgressStorage(), call)(key="k", body={}, patch=patch, record={}) is None
    assert dict(patch) == {}


def test_essence_is_left_alone_and_nothing_is_compared() -> None:
    essence = cast("kopf.BodyEssence", {"spec": {"a": 1}})
    assert NullProgressStorage().clear(essence=essence) == essence
    assert NullDiffBaseStorage().build(body={}, extra_fields=None) == {}
    assert NullDiffBaseStorage().fetch(body={}) is None
    patch = kopf.Patch({})
    NullDiffBaseStorage().store(body={}, patch=patch, essence=essence)
    assert dict(patch) == {}
