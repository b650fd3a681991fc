"""How often the same thing was done within the last minute: the brake on work that somebody always undoes.

Decides when enough is enough; never what is done then. Remembers a minute and no more, so what it holds is
bounded by what was done in one. Times are seconds of the caller's monotonic clock.

Not a rate limit: different things never wait for each other, and nothing is delayed, only refused.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

MOST: Final = 5
WITHIN: Final = 60.0
"""Seconds within which the same thing may be done so often."""
T = TypeVar("T", bound="Hashable")


class Recently(Generic[T]):
    """What was done within the last minute."""

    def __init__(self) -> None:
        self._done: deque[tuple[float, T]] = deque()
        self._count: Counter[T] = Counter()

    def __len__(self) -> int:
        return len(self._done)

    def note(self, what: T, now: float) -> None:
        """Remember that something was done."""
        self._forget(now)
        self._done.append((now, what))
        self._count[what] += 1

    def too_often(self, what: T, now: float) -> bool:
        """Tell whether something was done so often that it seems to have no effect."""
        self._forget(now)
        return self._count[what] >= MOST

    def _forget(self, now: float) -> None:
        while self._done and self._done[0][0] <= now - WITHIN:
            _, what = self._done.popleft()
            self._count[what] -= 1
            if not self._count[what]:
                del self._count[what]
