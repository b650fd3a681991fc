"""Rates and concurrency caps of one lane, where a lane is the leaves of one CAConfiguration.

Decides whether a leaf may start now, and if not, when. Never queues, never drops: a closed gate only
makes the queue wait. Times are seconds of the caller's monotonic clock.

Hand-written, because the published token buckets either sleep by themselves, which would fix the order
of the waiting items too early, or cannot give a token back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

DEFAULT_REISSUE_PER_SECOND: Final = 50.0
SLACK: Final = 0.01
"""Seconds that a token may be taken late and still count as taken in time: timers of an event loop fire
about a millisecond late, which would otherwise eat up to half of a high rate."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a CAConfiguration asks for; 0 switches a limit off."""

    per_second: float = 0.0
    """Leaves per second, fractions allowed."""
    concurrent: int = 0
    """Leaves in flight; ignored while ``per_second`` is set."""
    reissue_per_second: float = DEFAULT_REISSUE_PER_SECOND
    """Leaves per second that a rotation may re-issue, in addition to the above."""

    @property
    def gates_issuing(self) -> bool:
        """Whether leaves other than re-issues may have to wait."""
        return self.per_second > 0 or self.concurrent > 0


class Pace:
    """A token bucket that holds one token, so takes are ``1 / rate`` seconds apart."""

    __slots__ = ("_before", "_last", "rate")

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._last = -math.inf
        self._before = -math.inf

    @property
    def ready_at(self) -> float:
        """The moment of the next token; minus infinity when there is no limit."""
        return self._last + 1 / self.rate if self.rate > 0 else -math.inf

    def take(self, now: float) -> float:
        """Use the token that is there and return its stamp, for ``give_back``."""
        slot = now
        if self.rate > 0:
            interval = 1 / self.rate
            due = self._last + interval
            if due <= now <= due + min(SLACK, interval):
                slot = due
        self._before, self._last = self._last, slot
        return slot

    def give_back(self, stamp: float) -> None:
        """Undo a take that led to nothing, unless another one followed."""
        if stamp == self._last:
            self._last = self._before


class Gate:
    """The limits of one lane and what has been used of them."""

    __slots__ = ("_issue", "_reissue", "in_flight", "limits")

    def __init__(self) -> None:
        self.limits = Limits()
        self.in_flight = 0
        self._issue = Pace(self.limits.per_second)
        self._reissue = Pace(self.limits.reissue_per_second)

    def change(self, limits: Limits) -> None:
        """Put new limits in force; what was used before counts on."""
        self.limits = limits
        self._issue.rate = limits.per_second
        self._reissue.rate = limits.reissue_per_second

    def opens_at(self, *, reissue: bool) -> float:
        """Say when a leaf may start: a moment, or infinity until another one ends."""
        at = self._reissue.ready_at if reissue else -math.inf
        if self.limits.per_second > 0:
            return max(at, self._issue.ready_at)
        if 0 < self.limits.concurrent <= self.in_flight:
            return math.inf
        return at

    def enter(self, now: float, *, reissue: bool) -> tuple[float, float]:
        """Count a leaf that starts now; the stamps are for ``leave``."""
        self.in_flight += 1
        return self._issue.take(now), self._reissue.take(now) if reissue else math.nan

    def leave(self, stamps: tuple[float, float], *, spent: bool) -> None:
        """Count a leaf that ended; one that signed nothing gives its tokens back."""
        self.in_flight -= 1
        if not spent:
            self._issue.give_back(stamps[0])
            self._reissue.give_back(stamps[1])

    def untouched(self, now: float) -> bool:
        """Whether forgetting this gate would change nothing."""
        return (
            self.limits == Limits()
            and not self.in_flight
            and max(self._issue.ready_at, self._reissue.ready_at) <= now
        )
