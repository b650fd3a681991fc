"""What the leader watches by itself: leaves, with what a list found told apart from what a watch told."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import Mock, call, patch

import pytest

from meshca.api import names
from meshca.errors import MisconfiguredError
from meshca.kube.answers import WatchEvent
from meshca.kube.gateway import Gateway
from meshca.runtime import sources
from tests.fakes import pki
from tests.fakes.apiserver.server import ApiServer
from tests.fakes.apiserver.status import ApiError
from tests.fakes.apiserver.transport import FakeTransport
from tests.fakes.clock import LoopClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from meshca.engine.intake import Intake

pytestmark = pytest.mark.looptime

JSON = dict[str, Any]


class Told:
    """An intake that remembers what it was told of leaves."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.lists = 0

    def leaf(self, event: str, body: Mapping[str, Any]) -> None:
        self.events.append((event, str(body["metadata"]["name"])))

    def leaves_listed(self) -> None:
        self.lists += 1

    def take(self) -> list[tuple[str, str]]:
        found, self.events = self.events, []
        return found


@asynccontextmanager
async def watching(server: ApiServer) -> AsyncIterator[Told]:
    told = Told()
    source = sources.leaf_reflector(Gateway(FakeTransport(server)), cast("Intake", told), LoopClock())
    task = asyncio.create_task(source.run())
    try:
        await source.synced.wait()
        yield told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def leaf(server: ApiServer, name: str) -> JSON:
    spec = {"serviceAccountName": "web", "request": pki.request()}
    return server.create(names.LEAF, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})


async def test_leaves_are_listed_then_watched() -> None:
    server = ApiServer(LoopClock())
    leaf(server, "old")
    async with watching(server) as told:
        assert told.take() == [("", "old")], "listed, so it counts whatever its version"
        assert told.lists == 1
        leaf(server, "new")
        server.merge(names.LEAF, "new", "default", {"status": {"state": "Issued"}}, subresource="status")
        server.delete(names.LEAF, "new", "default")
        await asyncio.sleep(1)
        assert told.take() == [("ADDED", "new"), ("MODIFIED", "new"), ("DELETED", "new")]


@pytest.mark.parametrize(("kind", "told"), [("managed_secret", ""), ("account", "ADDED")])
def test_listed_managed_secrets_are_told_apart_from_watched_ones(kind: str, told: str) -> None:
    intake = Mock()
    found: dict[Any, Any] = {}

    def keep(_gateway: object, resource: object, _namespace: str = "", **more: Any) -> None:
        found[resource, more.get("label_selector", "")] = more["handler"]

    settings = Mock(namespace="meshca", trust_bundle_names=(), managed_key_namespaces=("*",))
    with patch.object(sources, "Reflector", keep):
        sources.reflectors(Mock(), settings, intake, LoopClock(), cluster_bundles=False)
    selectors = {
        "managed_secret": (names.SECRET, f"{names.LABEL_LEAF}=true"),
        "account": (names.SERVICE_ACCOUNT, ""),
    }
    found[selectors[kind]](WatchEvent("ADDED", {}, listed=True))
    found[selectors[kind]](WatchEvent("DELETED", {}, listed=True))
    assert getattr(intake, kind).call_args_list == [call(told, {}), call("DELETED", {})]


async def test_what_vanished_while_the_watch_was_down_is_told_as_deleted() -> None:
    server = ApiServer(LoopClock())
    for name in ("gone", "changed", "same"):
        leaf(server, name)
    async with watching(server) as told:
        told.take()
        server.delete(names.LEAF, "gone", "default")
        server.merge(names.LEAF, "changed", "default", {"metadata": {"labels": {"a": "b"}}})
        server.compact()
        server.cut_watches(names.LEAF)
        await asyncio.sleep(60)
        assert sorted(told.take()) == [("", "changed"), ("DELETED", "gone")]
        assert told.lists == 2


async def test_only_an_api_server_that_does_not_serve_them_has_no_cluster_trust_bundles() -> None:
    server = ApiServer(LoopClock())
    gateway = Gateway(FakeTransport(server))
    assert await sources.has_cluster_bundles(gateway)
    for error in (ApiError(403, "Forbidden", "RBAC: not found"), ApiError(503, "ServiceUnavailable", "wait")):
        server.fault(verb="list", resource=names.CLUSTER_TRUST_BUNDLE, error=error)
        assert await sources.has_cluster_bundles(gateway), error.reason
    server.fault(resource=names.CLUSTER_TRUST_BUNDLE, error=ApiError(405, "MethodNotAllowed", "no"))
    with pytest.raises(MisconfiguredError):
        await sources.has_cluster_bundles(gateway)
    del server.kinds[names.CLUSTER_TRUST_BUNDLE]
    assert not await sources.has_cluster_bundles(gateway)
