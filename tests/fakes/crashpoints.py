"""One mechanism for every crash point: a story is counted, then killed after each of its writes.

A story says what is there before, what somebody asks for while the operator is down, and how it looks once
that is done. Nothing about a crash point is chosen by hand: a story of n writes has n + 1 of them, and n more
where the last answer is lost; a story that has more writes than it says fails its own test.
"""

from __future__ import annotations

import asyncio
import base64
import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.pki import certificates, keys
from tests.fakes.clock import START
from tests.fakes.engine import NAMESPACE, Cluster, DieAfter
from tests.fakes.turning import SHORT, turned

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

JSON = dict[str, Any]


async def _nothing(_: Cluster) -> None:
    return


@dataclass(frozen=True)
class Story:
    """One thing that the operator does; ``seconds`` is how long it takes when nothing goes wrong."""

    name: str
    act: Callable[[Cluster], None]
    done: Callable[[Cluster], object]
    writes: int
    seconds: float = 30.0
    spec: JSON = field(default_factory=dict)
    before: Callable[[Cluster], Awaitable[None]] = _nothing
    """What happens, with an operator running, before ``act``."""
    keys_go: bool = False
    """Whether the story is about deleting keys that are in use."""

    def points(self) -> Iterator[tuple[int, bool]]:
        """Yield each crash point: writes that arrive, and whether the last answer is lost."""
        yield 0, False
        for count in range(1, self.writes + 1):
            yield count, False
            yield count, True


@dataclass(frozen=True)
class _Kept:
    """What an API server held when a story was about to happen, and the seconds that had passed by then."""

    objects: dict[Any, dict[Any, JSON]]
    owners: dict[str, Any]
    version: int
    seconds: float

    @classmethod
    def of(cls, cluster: Cluster) -> _Kept:
        store = cluster.server.store
        objects = {kind: dict(found) for kind, found in store.objects.items()}
        passed = (cluster.clock.now() - START).total_seconds()
        return cls(objects, copy.deepcopy(store.owners), store.version, passed)

    def again(self) -> Cluster:
        """Return another cluster that is in the same state at the same time."""
        cluster = Cluster()
        store = cluster.server.store
        store.objects = {kind: dict(found) for kind, found in self.objects.items()}
        store.owners = copy.deepcopy(self.owners)
        store.version = self.version
        store.compact()
        cluster.clock.step(self.seconds - cluster.clock.monotonic())
        return cluster


_kept: dict[str, _Kept] = {}


async def begun(story: Story) -> Cluster:
    """Return a cluster in which a story is about to happen, and no operator runs.

    What leads up to it is lived through once for all crash points.
    """
    if story.name not in _kept:
        _kept[story.name] = _Kept.of(await _lead_up(story))
    return _kept[story.name].again()


async def _lead_up(story: Story) -> Cluster:
    cluster = Cluster()
    cluster.policy()
    cluster.configure(**(SHORT | story.spec))
    await asyncio.sleep(60)
    async with cluster.operator():
        await cluster.until_ready()
        await story.before(cluster)
        await asyncio.sleep(5)
    return cluster


async def lived_through(story: Story) -> list[tuple[str, str, str, int]]:
    """Live through a story without a fault and return its writes."""
    cluster = await begun(story)
    async with turned(cluster) as witness:
        story.act(cluster)
        async with cluster.operator():
            await cluster.until(lambda: story.done(cluster), story.seconds)
            await asyncio.sleep(5)
            written = cluster.written()
            await quiet(cluster)
        if story.keys_go:
            witness.broken.clear()
    return written


async def killed(story: Story, count: int, *, lost: bool) -> None:
    """Kill the operator after so many writes, start it again, and hold it to the same end."""
    cluster = await begun(story)
    async with turned(cluster) as witness:
        story.act(cluster)
        death = DieAfter(writes=count, lose_last=lost, times=None)
        cluster.server.faults.append(death)
        async with cluster.operator():
            await asyncio.sleep(story.seconds)
        cluster.server.faults.clear()
        async with cluster.operator():
            await cluster.until(lambda: story.done(cluster), story.seconds + 600)
            await asyncio.sleep(5)
            sound(cluster)
            cluster.written()
            await quiet(cluster)
        if story.keys_go:
            witness.broken.clear()


async def quiet(cluster: Cluster) -> None:
    """Show that nothing is left to do."""
    due = {item["metadata"]["name"] for item in cluster.leaves()}
    due |= {item["spec"].get("secretName", "") for item in cluster.leaves()}
    await asyncio.sleep(120)
    assert [found for found in cluster.written() if found[2] not in due] == []


def sound(cluster: Cluster) -> None:
    """Show that nothing is there twice, and nothing half."""
    roots = cluster.server.all(names.CA_ROOT)
    assert len(cluster.secrets("root")) == len(roots)
    assert len(cluster.secrets("signer")) <= len(roots)
    for secret in (*cluster.secrets(), *_managed(cluster)):
        key = keys.load_private(base64.b64decode(secret["data"]["tls.key"]))
        assert keys.matches(key, certificates.load_all(base64.b64decode(secret["data"]["tls.crt"]))[0])
    for item in cluster.leaves():
        if secret_name := item["spec"].get("secretName"):
            found = cluster.server.find(names.SECRET, secret_name, item["metadata"]["namespace"])
            assert found is not None
            chain = base64.b64decode(found["data"]["tls.crt"]).decode()
            assert chain == item["status"]["certificateChain"]


def _managed(cluster: Cluster) -> list[JSON]:
    found = cluster.server.all(names.SECRET)
    return [item for item in found if item["metadata"]["namespace"] != NAMESPACE]
