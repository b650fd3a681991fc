"""How long a key waits after a failure.

Decides the delay only: exponential from half a second to five minutes, with the upper half of each step
drawn at random, so that keys that failed together do not come back together. What failed is never
looked at.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from meshca.engine.work import Key

BASE: Final = 0.5
CAP: Final = 300.0
_CAP_AT: Final = 10


class Backoff:
    """Failures in a row for each key."""

    __slots__ = ("_failures", "_random")

    def __init__(self, rng: random.Random | None = None) -> None:
        self._failures: dict[Key, int] = {}
        self._random = rng or random.Random()  # noqa: S311  spreads load, protects nothing

    def failures(self, key: Key) -> int:
        """Return how often a key failed since it was last forgotten."""
        return self._failures.get(key, 0)

    def fail(self, key: Key) -> float:
        """Count a failure and return the seconds to wait."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        step = min(CAP, BASE * 2.0 ** min(count, _CAP_AT))
        return step * self._random.uniform(0.5, 1.0)

    def forget(self, key: Key) -> None:
        """Start over with a key."""
        self._failures.pop(key, None)
