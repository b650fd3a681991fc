"""A list and an endless watch of one kind, with nothing lost in between.

Decides when to list again, to resume and to wait; never what a change means. Keeps the version and uid
of each object and no body. What vanished while the watch was down is delivered as DELETED after the
next list. Hand-written: ``kubernetes.aio`` has no informer, and its watch neither tells what a re-list
removed nor notices a silent connection; Kopf's does not tell the former either.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

from meshca.clock import SystemClock
from meshca.errors import ForbiddenError, GoneError, MeshCAError, TransientError
from meshca.kube.answers import WatchEvent
from meshca.kube.backoff import Backoff
from meshca.kube.gateway import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshca.api.names import Resource
    from meshca.clock import Clock
    from meshca.engine.ports import JSON
    from meshca.kube.gateway import Gateway

_log = logging.getLogger(__name__)

SERVER_SECONDS = 300
# Bookmarks come about once a minute, so a longer silence is a dead connection.
SILENCE_SECONDS = 70.0
# A watch that lived this long was a good one: the next starts without a wait.
_SETTLED_SECONDS = 5.0
_TIMER_SLACK = 1.0


class _Known(NamedTuple):
    version: str
    uid: str


def _unheard(_error: MeshCAError | None = None) -> None:
    return None


class Reflector:
    """Delivers every object of one kind to ``handler``, then every change, until it is cancelled.

    ``handler`` is a plain function that must return quickly; what it raises ends ``run``. Events are
    ADDED, MODIFIED and DELETED; a DELETED found by a re-list has only the metadata that was kept
    (name, namespace, uid, resourceVersion). ``listed`` is called after each whole list and ``synced`` is
    set after the first, ``last_activity`` is the ``monotonic`` second of the last sign of life,
    ``last_error`` the text of the failure that lasts, or empty. With ``may_be_refused`` a 403 counts as
    an empty list and a sign of life: nobody waits for it, it is tried again and again. ``heard``
    is called with each failure, and with None at each sign of life. With ``lists_anew`` no watch goes on
    from where another one ended, for a server whose versions may go back.
    """

    def __init__(
        self,
        gateway: Gateway,
        resource: Resource,
        namespace: str = "",
        *,
        handler: Callable[[WatchEvent], None],
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
        may_be_refused: bool = False,
        lists_anew: bool = False,
        listed: Callable[[], None] = _unheard,
        heard: Callable[[MeshCAError | None], None] = _unheard,
        clock: Clock | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self._gateway = gateway
        self._resource = resource
        self._namespace = namespace
        self._selectors = {
            name: text
            for name, text in (("labelSelector", label_selector), ("fieldSelector", field_selector))
            if text
        }
        self._handler = handler
        self._metadata_only = metadata_only
        self._may_be_refused = may_be_refused
        self._lists_anew = lists_anew
        self._listed = listed
        self._heard = heard
        self._clock = clock or SystemClock()
        self._backoff = backoff or Backoff()
        self._known: dict[tuple[str, str], _Known] = {}
        self._version = ""
        self._page_size = PAGE_SIZE
        self.synced = asyncio.Event()
        self.last_activity = self._clock.monotonic()
        self.last_error = ""

    def __len__(self) -> int:
        """Return the number of objects known to exist."""
        return len(self._known)

    async def run(self) -> None:
        """List and watch for ever; ends only by cancellation or by what ``handler`` raised."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except GoneError as error:
                # Normal after a long silence; a page token that expired needs the list in one piece.
                self._page_size = PAGE_SIZE if self._version else 0
                self._version = ""
                await self._pause(error)
            except MeshCAError as error:
                if self._may_be_refused and isinstance(error, ForbiddenError):
                    self._alive()
                    self.synced.set()
                await self._pause(error)
            if self._lists_anew:
                self._version = ""

    async def _list(self) -> None:
        seen: dict[tuple[str, str], _Known] = {}
        version = ""
        async with aclosing(
            self._gateway.pages(
                self._resource,
                self._namespace,
                self._selectors,
                metadata_only=self._metadata_only,
                page_size=self._page_size,
            )
        ) as pages:
            async for page in pages:
                version = page.resource_version
                self._alive()
                for item in page.items:
                    key, known = _identity(item)
                    seen[key] = known
                    self._deliver_listed(key, known, item)
        for key in [key for key in self._known if key not in seen]:
            self._deliver_vanished(key)
        if not version:
            raise TransientError(f"list {self._resource.plural}: no resourceVersion", reason="BadAnswer")
        self._version = version
        self._page_size = PAGE_SIZE
        self.synced.set()
        self._listed()
        self._recovered()

    async def _watch(self) -> None:
        started = self._clock.monotonic()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(SILENCE_SECONDS) as silence:
                deadline = loop.time() + SILENCE_SECONDS
                async with aclosing(
                    self._gateway.watch(
                        self._resource,
                        self._namespace,
                        self._selectors,
                        resource_version=self._version,
                        metadata_only=self._metadata_only,
                        server_seconds=SERVER_SECONDS,
                        # Some API servers send no bookmarks while nothing changes anywhere.
                        opened=self._alive,
                    )
                ) as events:
                    async for event in events:
                        self._alive()
                        if self.last_error:
                            self._recovered()
                        # Moving a timer costs more than an event, so once a second is enough.
                        if (wanted := loop.time() + SILENCE_SECONDS) > deadline + _TIMER_SLACK:
                            deadline = wanted
                            silence.reschedule(deadline)
                        self._deliver(event)
        except TimeoutError as error:
            if not silence.expired():
                raise
            raise TransientError(
                f"watch {self._resource.plural}: silent for {SILENCE_SECONDS:.0f} s", reason="Silent"
            ) from error
        finally:
            settled = self._clock.monotonic() - started >= _SETTLED_SECONDS
            if settled:
                self._backoff.reset()
        if not settled:
            raise TransientError(f"watch {self._resource.plural}: ended at once", reason="ShortWatch")
        self._recovered()

    def _deliver(self, event: WatchEvent) -> None:
        key, known = _identity(event.object)
        if event.type == "BOOKMARK":
            self._version = known.version
            return
        if event.type == "DELETED":
            self._known.pop(key, None)
        else:
            self._known[key] = known
        # Delivered first: should the handler fail, the next watch begins before this event.
        self._handler(event)
        self._version = known.version

    def _deliver_listed(self, key: tuple[str, str], known: _Known, item: JSON) -> None:
        before = self._known.get(key)
        if before == known:
            return
        if before is not None and before.uid != known.uid:
            self._deliver_vanished(key)
            before = None
        self._known[key] = known
        self._handler(WatchEvent("ADDED" if before is None else "MODIFIED", item, listed=True))

    def _deliver_vanished(self, key: tuple[str, str]) -> None:
        known = self._known.pop(key)
        namespace, name = key
        metadata = {"name": name, "uid": known.uid, "resourceVersion": known.version}
        if namespace:
            metadata["namespace"] = namespace
        self._handler(
            WatchEvent(
                "DELETED",
                {
                    "apiVersion": self._resource.api_version,
                    "kind": self._resource.kind,
                    "metadata": metadata,
                },
                listed=True,
            )
        )

    def _alive(self) -> None:
        self.last_activity = self._clock.monotonic()
        self._heard(None)

    def _recovered(self) -> None:
        self._backoff.reset()
        if self.last_error:
            _log.info("%s are watched again", self._resource.plural)
            self.last_error = ""

    async def _pause(self, error: MeshCAError) -> None:
        self._heard(error)
        at_least = error.retry_after if isinstance(error, TransientError) else 0.0
        delay = self._backoff.next(at_least)
        # A failure that lasts is one line, not one for each attempt.
        if error.message != self.last_error:
            self.last_error = error.message
            level = logging.INFO if isinstance(error, (GoneError, TransientError)) else logging.WARNING
            _log.log(level, "%s: next attempt in %.1f s: %s", self._resource.plural, delay, error.message)
        await asyncio.sleep(delay)


def _identity(item: JSON) -> tuple[tuple[str, str], _Known]:
    metadata = item["metadata"]
    key = (str(metadata.get("namespace", "")), str(metadata.get("name", "")))
    return key, _Known(str(metadata.get("resourceVersion", "")), str(metadata.get("uid", "")))
