"""A first-in-first-out queue that is fair between namespaces.

Decides which key of one class and lane comes next: namespaces take turns, and within a namespace the
oldest key goes first, so that a namespace with 10,000 requests delays one with a single request by one
turn. Never looks at limits or urgency. Every operation is O(1).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshca.engine.work import Key


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
