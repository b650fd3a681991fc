"""The keyed work queue: everything the operator does passes through here once per key.

Decides when a worker gets an item; ``engine.dispatch`` decides which. Adds to it what needs a clock:
workers that wait, keys that come back later (back-off with jitter, planned returns), and the word to
the reconciler that a limit makes somebody wait. Never looks at what an item is about, never drops one,
and keeps nothing over a restart: the store's first listing fills it again.

Belongs to one event loop and is not thread-safe. One timer handle in all, no polling.

Hand-written: ``asyncio.Queue`` and its kin know neither keys nor classes nor limits per class, and the
order of what waits must be settled when capacity appears, not when it is asked for.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, Final

from meshca.engine.backoff import Backoff
from meshca.engine.dispatch import Dispatcher
from meshca.engine.due import DueHeap
from meshca.engine.limits import DEFAULT_REISSUE_PER_SECOND, Limits
from meshca.engine.work import UNRANKED, Item, Key, Urgency

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from meshca.engine.dispatch import Entry
    from meshca.engine.work import Rank

__all__ = ["Item", "Key", "Urgency", "WorkQueue"]

THROTTLED_AFTER: Final = 5.0
"""Seconds behind a lane's limit after which the holder is told."""
_BATCH: Final = 1000
"""Keys that one turn of the loop takes over, a few milliseconds of work."""


class WorkQueue:
    """Hands keys to workers: by urgency, within limits, each at most once at a time.

    ``on_throttled(key, urgency)`` is called once for each stay of a key (re-issues left out) that has
    lasted five seconds in a lane with limits. It must not block and may call the queue.
    """

    def __init__(
        self,
        *,
        max_in_flight: int,
        on_throttled: Callable[[Key, Urgency], None] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._core = Dispatcher(max_in_flight)
        self._on_throttled = on_throttled
        self._backoff = Backoff(rng)
        self._later = DueHeap()
        self._planned: dict[Key, tuple[Urgency, str, Rank]] = {}
        self._limited: deque[tuple[float, Entry]] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._idle: asyncio.Future[None] | None = None
        self._alarm: asyncio.Handle | None = None
        self._alarm_at = math.inf
        self._reached = 0.0
        self._closed = False

    def add(self, key: Key, urgency: Urgency, lane: str = "", rank: Rank = UNRANKED) -> None:
        """Queue a key now, or make a queued one more urgent; a running one runs once more afterwards.

        ``lane`` is the name of the CAConfiguration whose limits apply, empty for none. It comes from
        untrusted users and is only compared. ``rank`` orders re-issues of a lane, the lowest first.
        """
        if self._closed:
            return
        self._queued(self._core.add(key, urgency, lane, self._now(), rank))

    def add_after(
        self, key: Key, delay: float, urgency: Urgency, lane: str = "", rank: Rank = UNRANKED
    ) -> None:
        """Queue a key in ``delay`` seconds; of several plans the earliest and the most urgent hold.

        A plan is dropped when the key runs before: that run decides again.
        """
        if self._closed:
            return
        due = self._now() + max(0.0, delay)
        known = self._later.due(key)
        if known is not None:
            due = min(due, known)
            planned_urgency, planned_lane, planned_rank = self._planned[key]
            rank = rank if urgency is Urgency.REISSUE else planned_rank
            urgency, lane = min(urgency, planned_urgency), lane or planned_lane
        self._later.set(key, due)
        self._planned[key] = urgency, lane, rank
        self._arm()

    async def get(self) -> Item | None:
        """Wait for the next item; None once the queue is closed."""
        while not self._closed:
            now = self._now()
            entry = self._core.take(now)
            if entry is not None:
                self._forget_plan(entry.key)
                if self._core.size:
                    self._wake()
                waited = now - entry.queued_at
                attempt = self._backoff.failures(entry.key)
                return Item(entry.key, entry.urgency, entry.lane, waited, attempt)
            self._arm()
            await self._wait()
        return None

    def done(self, key: Key, *, spent: bool = True) -> None:
        """End an item well and reset its back-off.

        ``spent=False``: it signed nothing, so it does not count against the rate of its lane.
        """
        self._backoff.forget(key)
        self._finish(key, spent=spent)

    def retry(self, key: Key, after: float | None = None, *, spent: bool = True) -> None:
        """End an item that failed and queue it again after ``after`` seconds.

        None or 0 means the key's own back-off: exponential with jitter, at most five minutes. A key that
        was added while it ran is queued at once, because something has changed.
        """
        delay = self._backoff.fail(key)
        ended, again = self._finish(key, spent=spent)
        if again is None:
            self.add_after(key, after or delay, ended.urgency, ended.lane, ended.rank)

    def forget(self, key: Key) -> None:
        """Reset the back-off of a key."""
        self._backoff.forget(key)

    def discard(self, key: Key) -> None:
        """Drop everything planned for a key whose object is gone; a run in flight ends normally."""
        self._backoff.forget(key)
        self._forget_plan(key)
        self._core.discard(key, self._now())

    def set_limits(
        self,
        lane: str,
        *,
        per_second: float = 0.0,
        concurrent: int = 0,
        reissue_per_second: float = DEFAULT_REISSUE_PER_SECOND,
    ) -> None:
        """Change the limits of a CAConfiguration from now on; 0 switches one off, fractions are allowed."""
        limits, before = Limits(per_second, concurrent, reissue_per_second), self._core.limits(lane)
        if limits == before:
            return
        waiting = self._core.set_limits(lane, limits, self._now())
        if not before.gates_issuing:
            for entry in waiting:
                self._watch(entry)
        for _ in range(len(self._waiters)):
            self._wake()

    def depth(self) -> Mapping[Urgency, int]:
        """Count waiting keys by urgency; those in back-off are not waiting."""
        return self._core.depth()

    def oldest_age(self) -> float:
        """Return the seconds that the oldest key has waited, re-issues left out; 0 when none waits."""
        queued_at = self._core.oldest()
        return 0.0 if queued_at is None else self._now() - queued_at

    @property
    def in_flight(self) -> int:
        """Return how many items are handed out."""
        return self._core.in_flight

    @property
    def planned(self) -> int:
        """Return how many keys come back later."""
        return len(self._later)

    def close(self) -> None:
        """Hand out nothing more; waiting workers get None, items in flight end normally."""
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        while self._waiters:
            self._wake()

    async def drained(self) -> None:
        """Wait until nothing is in flight; one caller at a time."""
        if self._core.in_flight:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle

    def _finish(self, key: Key, *, spent: bool) -> tuple[Entry, Entry | None]:
        ended, again = self._core.finish(key, self._now(), spent=spent)
        self._queued(again)
        if not self._core.in_flight and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        self._wake()
        return ended, again

    def _queued(self, entry: Entry | None) -> None:
        if entry is not None:
            self._watch(entry)
        self._wake()

    def _watch(self, entry: Entry) -> None:
        """Remember to look, in five seconds, whether this entry still waits behind a limit."""
        if (
            self._on_throttled is not None
            and Urgency.SPREAD < entry.urgency < Urgency.REISSUE
            and self._core.limits(entry.lane).gates_issuing
        ):
            self._limited.append((self._now() + THROTTLED_AFTER, entry))
            self._arm()

    def _tell_throttled(self, now: float) -> None:
        for _ in range(_BATCH):
            if not self._limited or self._limited[0][0] > now:
                break
            _, entry = self._limited.popleft()
            waits = self._core.queued(entry.key) is entry and self._core.limits(entry.lane).gates_issuing
            if waits and not entry.told and self._on_throttled is not None:
                entry.told = True
                self._on_throttled(entry.key, entry.urgency)

    def _forget_plan(self, key: Key) -> None:
        if self._planned.pop(key, None) is not None:
            self._later.cancel(key)

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._wake()  # the call was for work that somebody else must now do
            raise

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _arm(self) -> None:
        """See to it that ``_ring`` runs at the next moment at which time alone changes something."""
        opens, planned = self._core.opens_at(), self._later.next_due()
        due = min(
            opens if opens > self._now() else math.inf,  # an open lane waits for a free worker, not for time
            math.inf if planned is None else planned,
            self._limited[0][0] if self._limited else math.inf,
        )
        if due == math.inf or self._closed:
            return
        if self._alarm is not None:
            if self._alarm_at <= due:  # kept here, because uvloop's handles do not always know
                return
            self._alarm.cancel()
        self._alarm_at = due
        self._alarm = asyncio.get_running_loop().call_at(due, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        # A loop may call a tick early by its own clock; taken at its word, it would be asked for ever.
        self._reached = self._alarm_at
        now = self._now()
        for _ in range(_BATCH):
            key = self._later.pop(now)
            if key is None:
                break
            urgency, lane, rank = self._planned.pop(key)
            self._queued(self._core.add(key, urgency, lane, now, rank))
        self._tell_throttled(now)
        self._wake()
        self._arm()

    def _now(self) -> float:
        return max(asyncio.get_running_loop().time(), self._reached)
