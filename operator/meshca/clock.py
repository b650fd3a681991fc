"""The one place that knows what time it is.

Everything else takes a ``Clock``, so that tests run years in seconds. Wall time is for what is
written into certificates and status; ``monotonic`` is for deadlines, and goes on while the machine
sleeps (CLOCK_BOOTTIME), because a Lease does too.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final, Protocol

MOST_SKEW: Final = 60.0
"""Seconds by which our clock and the API server's may differ."""


class Clock(Protocol):
    """Wall time and a monotonic time of the same speed."""

    def now(self) -> datetime:
        """Return the present moment, timezone-aware, UTC, with microseconds."""
        ...

    def monotonic(self) -> float:
        """Return seconds since an arbitrary moment; never goes back, counts suspended time."""
        ...


class SystemClock:
    """The machine's own clock."""

    _boottime = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def now(self) -> datetime:
        """Return the present moment in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds on CLOCK_BOOTTIME where there is one (Linux)."""
        return time.clock_gettime(self._boottime)


def differ(skew: float | None) -> bool:
    """Tell whether two clocks are too many seconds apart; None, not measured yet, is not."""
    return abs(skew or 0.0) > MOST_SKEW
