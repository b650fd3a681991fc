"""Versions, history and watchers: what etcd and the watch cache are to the real server."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshca.api.names import Resource
    from tests.fakes.apiserver.fieldsets import Owners

JSON = dict[str, Any]
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """One committed write; ``before`` is None for an ADDED object, ``actor`` the request's user."""

    version: int
    type: str
    resource: Resource
    item: JSON
    before: JSON | None
    actor: str = ""


class Feed:
    """Changes of one kind, waiting for one watcher."""

    def __init__(self) -> None:
        self.changes: deque[Change] = deque()
        self.ready = asyncio.Event()
        self.cut = False
        self.half_line = False
        self.silent = False

    def put(self, change: Change) -> None:
        if not self.cut:
            self.changes.append(change)
            self.ready.set()

    def end(self, *, half_line: bool = False) -> None:
        self.cut = True
        self.half_line = half_line
        self.ready.set()


@dataclass(frozen=True, slots=True)
class Backup:
    """Everything as it was at one version."""

    version: int
    objects: dict[Resource, dict[Key, JSON]]
    owners: dict[str, Owners]


class Store:
    """Objects are never changed in place: whoever holds one holds a snapshot."""

    def __init__(self) -> None:
        # Not from 1, so that nobody takes a version for a count.
        self.version = 4711
        self.compacted = self.version
        self.objects: dict[Resource, dict[Key, JSON]] = {}
        self.owners: dict[str, Owners] = {}
        self.history: dict[Resource, list[Change]] = {}
        self.feeds: dict[Resource, list[Feed]] = {}
        self.listeners: list[Callable[[Change], None]] = []
        self.actor = ""
        """The user whose request is being carried out; "" for what the test itself or a controller does."""

    def get(self, resource: Resource, key: Key) -> JSON | None:
        return self.objects.get(resource, {}).get(key)

    def items(self, resource: Resource) -> list[JSON]:
        found = self.objects.get(resource, {})
        return [found[key] for key in sorted(found)]

    def commit(self, resource: Resource, type_: str, item: JSON, before: JSON | None) -> JSON:
        """Make one change durable and tell the watchers; returns the object with its new version."""
        self.version += 1
        metadata = item["metadata"] | {"resourceVersion": str(self.version)}
        item = item | {"metadata": metadata}
        key = (metadata.get("namespace", ""), metadata["name"])
        kept = self.objects.setdefault(resource, {})
        if type_ == "DELETED":
            del kept[key]
            self.owners.pop(metadata["uid"], None)
        else:
            kept[key] = item
        change = Change(self.version, type_, resource, item, before, self.actor)
        self.history.setdefault(resource, []).append(change)
        for feed in self.feeds.get(resource, ()):
            feed.put(change)
        for listener in self.listeners:
            listener(change)
        return item

    def since(self, resource: Resource, version: int) -> list[Change]:
        found = self.history.get(resource, [])
        return found[bisect_right(found, version, key=lambda change: change.version) :]

    def compact(self) -> None:
        """Forget all history: older watches and page tokens get 410 from now on."""
        self.history.clear()
        # Something must be newer than what a client holds, or nothing would have expired.
        self.version += 1
        self.compacted = self.version

    def backup(self) -> Backup:
        objects = {resource: dict(found) for resource, found in self.objects.items()}
        return Backup(self.version, objects, dict(self.owners))

    def restore(self, backup: Backup, version: int) -> None:
        """Put everything back as it was, resource versions included; the store itself is at ``version``.

        History is forgotten and watches end. Nobody is told: listeners hear of changes, and this is none.
        """
        self.objects = {resource: dict(found) for resource, found in backup.objects.items()}
        self.owners = dict(backup.owners)
        self.version = version
        for feed in [feed for feeds in self.feeds.values() for feed in feeds]:
            feed.end()
        self.compact()
