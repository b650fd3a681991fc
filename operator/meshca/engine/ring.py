"""Which key of one class and lane comes next: by turns of the namespaces, or by rank.

``FairRing``: namespaces take turns, and within a namespace the oldest key goes first, so that a namespace
with 10,000 requests delays one with a single request by one turn; every operation is O(1).
``RankedRing``: the lowest rank goes first, whatever the namespace; O(log n). Neither looks at limits or
urgency.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from meshca.engine.work import Key, Rank

_LITTER: Final = 64


class FairRing:
    """Keys grouped by namespace, handed out round robin."""

    __slots__ = ("_size", "_turns")

    def __init__(self) -> None:
        self._turns: OrderedDict[str, OrderedDict[Key, None]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, key: Key) -> None:
        """Append a key to its namespace; the caller never adds one twice."""
        keys = self._turns.get(key.namespace)
        if keys is None:
            keys = self._turns[key.namespace] = OrderedDict()
        keys[key] = None
        self._size += 1

    def remove(self, key: Key) -> None:
        """Take out a key that is in the ring."""
        keys = self._turns[key.namespace]
        del keys[key]
        self._size -= 1
        if not keys:
            del self._turns[key.namespace]

    def pop(self) -> Key:
        """Take out the oldest key of the namespace whose turn it is; the ring must not be empty."""
        namespace, keys = next(iter(self._turns.items()))
        key, _ = keys.popitem(last=False)
        self._size -= 1
        if keys:
            self._turns.move_to_end(namespace)
        else:
            del self._turns[namespace]
        return key

    def keys(self) -> list[Key]:
        """Copy all keys, in no useful order."""
        return [key for keys in self._turns.values() for key in keys]


class RankedRing:
    """Keys with a rank each, handed out lowest first, equal ranks by key.

    Hand-written, because ``queue.PriorityQueue`` can neither take a key out nor tell what it holds. A key
    that is taken out stays in the heap until it would come up, or until such litter is half of it.
    """

    __slots__ = ("_heap", "_ranks")

    def __init__(self) -> None:
        self._ranks: dict[Key, Rank] = {}
        self._heap: list[tuple[Rank, Key]] = []

    def __len__(self) -> int:
        return len(self._ranks)

    def add(self, key: Key, rank: Rank) -> None:
        """Put a key in; the caller never adds one twice."""
        self._ranks[key] = rank
        heapq.heappush(self._heap, (rank, key))

    def remove(self, key: Key) -> None:
        """Take out a key that is in the ring."""
        del self._ranks[key]
        if len(self._heap) > 2 * len(self._ranks) + _LITTER:
            self._heap = [(rank, item) for item, rank in self._ranks.items()]
            heapq.heapify(self._heap)

    def pop(self) -> Key:
        """Take out the key of the lowest rank; the ring must not be empty."""
        while True:
            rank, key = heapq.heappop(self._heap)
            if self._ranks.get(key) == rank:
                del self._ranks[key]
                return key

    def keys(self) -> list[Key]:
        """Copy all keys, in no useful order."""
        return list(self._ranks)
