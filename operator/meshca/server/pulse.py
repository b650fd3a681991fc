"""The sign of life of an event loop, kept by that loop and read from another thread.

Decides nothing: ``server.health`` judges the age, the metrics show the lag.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshca.clock import Clock

INTERVAL: Final = 1.0
"""Seconds between two signs of life."""


class Pulse:
    """Beats in one loop from ``start`` to ``stop``; only ``age`` may be called from elsewhere."""

    def __init__(self, clock: Clock, on_lag: Callable[[float], None]) -> None:
        self._clock = clock
        self._on_lag = on_lag
        self._last: float | None = None
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to beat in the running loop; ``on_lag`` gets the seconds by which each beat was late."""
        self._last = self._clock.monotonic()
        self._handle = asyncio.get_running_loop().call_later(INTERVAL, self._beat)

    def stop(self) -> None:
        """End beating; the age is unknown from now on."""
        self._last = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def age(self) -> float | None:
        """Return the seconds since the last beat, or None when the loop is not meant to run."""
        last = self._last
        return None if last is None else max(0.0, self._clock.monotonic() - last)

    def _beat(self) -> None:
        age = self.age()
        if age is not None:
            self._on_lag(max(0.0, age - INTERVAL))
            self.start()
