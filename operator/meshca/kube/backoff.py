"""How long to wait before the next attempt: doubling, with jitter, never less than the server asked."""

from __future__ import annotations

import random

_RANDOM = random.SystemRandom()


class Backoff:
    """Delays in seconds: each failure doubles the span up to ``cap``; the delay is within its upper half."""

    def __init__(self, initial: float = 0.5, cap: float = 30.0, rng: random.Random = _RANDOM) -> None:
        self._initial = initial
        self._cap = cap
        self._rng = rng
        self._span = initial

    def next(self, at_least: float = 0.0) -> float:
        """Return the delay before the next attempt, ``at_least`` what a Retry-After demanded."""
        delay = self._span * self._rng.uniform(0.5, 1.0)
        self._span = min(self._span * 2, self._cap)
        return max(delay, at_least)

    def reset(self) -> None:
        """Begin again after a success."""
        self._span = self._initial
