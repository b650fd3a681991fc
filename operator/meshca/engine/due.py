"""Keys by due time: a heap in which an entry can be moved or taken back.

Decides nothing; it answers what is due. Entries that were moved or cancelled stay in the heap until
they surface (lazy deletion), and the heap is rebuilt when more than half of it is such litter, so that
100,000 keys that move often cost O(log n) each and bounded memory.

Hand-written on ``heapq``: the standard library has no heap with removal, and one class is less than a
dependency.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from meshca.engine.work import Key

_LITTER: Final = 64


class DueHeap:
    """One due time (seconds on any one scale) for each key."""

    __slots__ = ("_due", "_heap")

    def __init__(self) -> None:
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []

    def __len__(self) -> int:
        return len(self._due)

    def due(self, key: Key) -> float | None:
        """Return the due time of a key, or None."""
        return self._due.get(key)

    def set(self, key: Key, due: float) -> None:
        """Put a key in, or move it."""
        if self._due.get(key) == due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, key))
        if len(self._heap) > 2 * len(self._due) + _LITTER:
            self._heap = [(when, item) for item, when in self._due.items()]
            heapq.heapify(self._heap)

    def cancel(self, key: Key) -> None:
        """Take a key out; unknown ones are ignored."""
        self._due.pop(key, None)

    def next_due(self) -> float | None:
        """Return the earliest due time, or None when empty."""
        while self._heap:
            due, key = self._heap[0]
            if self._due.get(key) == due:
                return due
            heapq.heappop(self._heap)
        return None

    def pop(self, now: float) -> Key | None:
        """Take out the earliest key that is due at ``now``, or return None."""
        due = self.next_due()
        if due is None or due > now:
            return None
        _, key = heapq.heappop(self._heap)
        del self._due[key]
        return key
