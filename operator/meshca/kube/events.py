"""Kubernetes Events (events.k8s.io/v1): said once, counted when they repeat, dropped before they delay.

Decides which Event is a repetition of which; never what is worth one. ``record`` only puts into a
bounded queue; one task writes, and a failed write is counted and forgotten, since an Event is never
worth a retry storm. Hand-written: no asyncio recorder exists.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshca.api.names import EVENT
from meshca.errors import MeshCAError, NotFoundError
from meshca.kube.times import micro_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meshca.clock import Clock
    from meshca.engine.ports import JSON, Cluster

_log = logging.getLogger(__name__)

QUEUE_SIZE = 256
SERIES_KEPT = 1024
# As client-go: the same within six minutes is one series, said again at most that often.
SERIES_SECONDS = 360.0
NOTE_BYTES = 1024

CONTROLLER = "meshca.dev/operator"

_Key = tuple[str, str, str, str, str]


@dataclass(slots=True)
class _Series:
    name: str
    namespace: str
    count: int
    written_at: float
    seen_at: float


def _not_counted() -> None:
    return None


class EventRecorder:
    """``engine.ports.Recorder``; ``instance`` is the Pod's name, ``on_drop`` hears of each lost Event."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        *,
        instance: str,
        on_drop: Callable[[], None] = _not_counted,
        queue_size: int = QUEUE_SIZE,
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._instance = instance
        self._on_drop = on_drop
        self._queue: asyncio.Queue[tuple[_Key, JSON]] = asyncio.Queue(queue_size)
        self._series: OrderedDict[_Key, _Series] = OrderedDict()

    def record(self, regarding: Mapping[str, Any], *, kind: str, reason: str, note: str) -> None:
        """Queue one Event about ``regarding`` (an object with metadata); never blocks, never raises."""
        metadata = regarding.get("metadata") or {}
        key = (str(metadata.get("uid", "")), str(metadata.get("name", "")), kind, reason, note)
        try:
            self._queue.put_nowait((key, self._body(regarding, kind, reason, note)))
        except asyncio.QueueFull:
            self._on_drop()

    async def run(self) -> None:
        """Write queued Events until cancelled."""
        while True:
            key, body = await self._queue.get()
            try:
                await self._write(key, body)
            except MeshCAError as error:
                self._on_drop()
                _log.info("Event lost: %s", error.message)
            finally:
                self._queue.task_done()

    async def drain(self) -> None:
        """Wait until everything queued was written or given up; needs ``run`` running."""
        await self._queue.join()

    async def _write(self, key: _Key, body: JSON) -> None:
        now = self._clock.monotonic()
        series = self._series.get(key)
        if series is None or now - series.seen_at > SERIES_SECONDS:
            self._remember(key, await self._cluster.create(EVENT, body), now)
            return
        self._series.move_to_end(key)
        series.count += 1
        series.seen_at = now
        if series.count > 2 and now - series.written_at < SERIES_SECONDS:  # noqa: PLR2004  the second is news
            return
        series.written_at = now
        observed = micro_time(self._clock.now())
        try:
            await self._cluster.patch(
                EVENT,
                series.name,
                series.namespace,
                {"series": {"count": series.count, "lastObservedTime": observed}},
            )
        except NotFoundError:
            # The API server forgets Events after an hour.
            self._remember(key, await self._cluster.create(EVENT, body), now)

    def _remember(self, key: _Key, created: JSON, now: float) -> None:
        metadata = created["metadata"]
        self._series[key] = _Series(
            name=metadata["name"],
            namespace=metadata["namespace"],
            count=1,
            written_at=now,
            seen_at=now,
        )
        self._series.move_to_end(key)
        while len(self._series) > SERIES_KEPT:
            self._series.popitem(last=False)

    def _body(self, regarding: Mapping[str, Any], kind: str, reason: str, note: str) -> JSON:
        metadata = regarding.get("metadata") or {}
        # Events about cluster-scoped objects live in "default", by the API's rule.
        namespace = str(metadata.get("namespace") or "default")
        return {
            "metadata": {
                # A name of our own, as client-go does it: generateName may not end in a dot.
                "name": f"{str(metadata.get('name', 'meshca'))[:230]}.{uuid.uuid4().hex[:16]}",
                "namespace": namespace,
            },
            "eventTime": micro_time(self._clock.now()),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "action": reason,
            "reason": reason,
            "type": kind,
            "note": note.encode()[:NOTE_BYTES].decode(errors="ignore"),
            "regarding": {
                "apiVersion": regarding.get("apiVersion", ""),
                "kind": regarding.get("kind", ""),
                "name": metadata.get("name", ""),
                "namespace": metadata.get("namespace", ""),
                "uid": metadata.get("uid", ""),
                "resourceVersion": metadata.get("resourceVersion", ""),
            },
        }
