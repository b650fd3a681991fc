"""Clocks that follow the event loop, for tests in virtual time (looptime)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

START = datetime(2026, 3, 1, tzinfo=UTC)


class LoopClock:
    """``monotonic`` is the loop's time, ``now`` follows it from ``START``; ``step`` moves only ``now``."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._step = timedelta()

    def now(self) -> datetime:
        return self._start + self._step + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return 0.0

    @property
    def offset(self) -> float:
        """Return by how many seconds ``now`` was set forward in all."""
        return self._step.total_seconds()

    def step(self, seconds: float) -> None:
        """Set the wall clock forward (or back), as an administrator or NTP would."""
        self._step += timedelta(seconds=seconds)
