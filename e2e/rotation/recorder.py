"""Every state that objects ever had while somebody looked: recorded by watches, in the server's own order.

Decides how watches are kept alive and how their events are put in order; never what is right. A
resourceVersion is a revision of the one store behind all kinds, so it orders states of different kinds too.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from e2e.client import split_path

if TYPE_CHECKING:
    from types import TracebackType

    from e2e.cluster import Cluster

JSON = dict[str, Any]
TURN = 3
"""Seconds after which the server ends each watch, so that whoever stops waits no longer."""
SETTLE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class State:
    """One state of an object; ``body`` is None from its deletion on."""

    version: int
    kind: str
    namespace: str
    name: str
    body: JSON | None


class Recorder:
    """Watches collections, by kind, from ``with`` on; ``states`` are in the order of their making."""

    def __init__(self, cluster: Cluster, paths: dict[str, list[str]]) -> None:
        self._cluster = cluster
        self._paths = [(kind, path) for kind, places in paths.items() for path in places]
        self._states: list[State] = []
        self._problems: list[str] = []
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for kind, path in self._paths:
            version = self._list(kind, path)
            thread = threading.Thread(target=self._watch, args=(kind, path, version), daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    @property
    def states(self) -> list[State]:
        """Return what was recorded; fails when a watch missed anything."""
        assert self._problems == []
        return sorted(self._states, key=lambda state: state.version)

    def settle(self) -> list[State]:
        """Return what was recorded once that includes everything that happened before the call."""
        deadline = time.monotonic() + SETTLE_SECONDS
        wanted = {
            (kind, item["metadata"]["uid"]): int(item["metadata"]["resourceVersion"])
            for kind, path in self._paths
            for item in self._read(path)["items"]
        }
        while missing := wanted.items() - {((s.kind, _uid(s)), s.version) for s in list(self._states)}:
            assert time.monotonic() < deadline, f"never seen: {missing}"
            time.sleep(0.05)  # the watches are threads of ours that nothing announces
        return self.states

    def _read(self, path: str) -> JSON:
        collection, query = split_path(path)
        return self._cluster.client().request("GET", collection, query=query)

    def _list(self, kind: str, path: str) -> str:
        found = self._read(path)
        for item in found["items"]:
            self._take(kind, item, deleted=False)
        return str(found["metadata"]["resourceVersion"])

    def _watch(self, kind: str, path: str, version: str) -> None:
        collection, query = split_path(path)
        while not self._over.is_set():
            asked = query | {"resourceVersion": version, "timeoutSeconds": str(TURN)}
            for event in self._cluster.client().watch(collection, asked, timeout=60):
                body = event["object"]
                if event["type"] == "ERROR":
                    self._problems.append(f"watch {path}: {body.get('message')}")
                    return
                version = body["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    self._take(kind, body, deleted=event["type"] == "DELETED")

    def _take(self, kind: str, body: JSON, *, deleted: bool) -> None:
        meta = body["metadata"]
        version = int(meta["resourceVersion"])
        state = State(version, kind, meta.get("namespace", ""), meta["name"], None if deleted else body)
        self._states.append(state)


def _uid(state: State) -> str:
    return str(state.body["metadata"]["uid"]) if state.body is not None else ""
