"""Time as the API server writes it, and how far its clock and ours are apart.

Decides nothing: the planner refuses irreversible steps while the two clocks differ.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from meshca.clock import Clock

INTERVAL_SECONDS = 5.0


def micro_time(moment: datetime) -> str:
    """Write a UTC moment as the API's MicroTime."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class ServerTime:
    """Keeps the last observed difference; looks at most every five seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due = float("-inf")
        self.skew: float | None = None

    def observe(self, date: str) -> None:
        """Take a Date header (RFC 9110, whole seconds); anything else is ignored."""
        if not date or self._clock.monotonic() < self._due:
            return
        try:
            server = parsedate_to_datetime(date)
        except ValueError:
            return
        self._due = self._clock.monotonic() + INTERVAL_SECONDS
        # "-0000" parses as naive; HTTP dates are UTC whatever they say.
        self.skew = (server.replace(tzinfo=UTC) - self._clock.now()).total_seconds()
