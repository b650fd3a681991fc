"""Due times in wall-clock time: renewals, signer renewals, prunes, deadlines.

Decides when a key is handed to ``fire``; never what then happens, and never keeps anything over a
restart, since every due time is in a status and is set again from there.

One heap and one timer handle of the event loop, whatever the number of entries. Wall clocks are stepped
and machines are suspended, so the handle never sleeps longer than a minute before it looks again: an
entry fires at most that much late after a step, and never before its time.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from meshca.engine.due import DueHeap

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshca.clock import Clock
    from meshca.engine.work import Key, Urgency

LOOK_AGAIN: Final = 60.0
"""Seconds after which the wall clock is read again at the latest."""
_BATCH: Final = 1000
"""Entries that fire in one turn of the loop, so that a fleet that is due at once does not block it."""


class Timers:
    """One due time for each key; belongs to one event loop."""

    def __init__(self, clock: Clock, fire: Callable[[Key, Urgency], None]) -> None:
        self._clock = clock
        self._fire = fire
        self._heap = DueHeap()
        self._urgency: dict[Key, Urgency] = {}
        self._handle: asyncio.Handle | None = None
        self._handle_at = 0.0

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, key: Key, due: datetime, urgency: Urgency) -> None:
        """Fire ``key`` once at ``due`` (timezone-aware); replaces what was set for it before."""
        timestamp = due.timestamp()
        self._heap.set(key, timestamp)
        self._urgency[key] = urgency
        if self._heap.next_due() == timestamp:
            self._arm()

    def cancel(self, key: Key) -> None:
        """Forget a key; unknown ones are ignored."""
        self._heap.cancel(key)
        self._urgency.pop(key, None)

    def due(self, key: Key) -> datetime | None:
        """Return when a key fires (UTC), or None."""
        return _moment(self._heap.due(key))

    @property
    def next_due(self) -> datetime | None:
        """Return when the next key fires (UTC), or None when none is set."""
        return _moment(self._heap.next_due())

    def close(self) -> None:
        """Fire nothing any more."""
        self._heap = DueHeap()
        self._urgency.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self) -> None:
        due = self._heap.next_due()
        if due is None:
            return
        loop = asyncio.get_running_loop()
        wait = min(LOOK_AGAIN, max(0.0, due - self._clock.now().timestamp()))
        when = loop.time() + wait
        if self._handle is not None:
            if self._handle_at <= when:  # kept here, because uvloop's handles do not always know
                return
            self._handle.cancel()
        self._handle_at = when
        self._handle = loop.call_at(when, self._look)

    def _look(self) -> None:
        self._handle = None
        now = self._clock.now().timestamp()
        try:
            for _ in range(_BATCH):
                key = self._heap.pop(now)
                if key is None:
                    break
                self._fire(key, self._urgency.pop(key))
        finally:
            self._arm()


def _moment(timestamp: float | None) -> datetime | None:
    return None if timestamp is None else datetime.fromtimestamp(timestamp, UTC)
