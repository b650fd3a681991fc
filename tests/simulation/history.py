"""Runs the history of one seed, in a loop and with randomness of its own, and reports what was found."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from tests.simulation.entropy import seeded
from tests.simulation.loop import SimLoop
from tests.simulation.mesh import WHOLE, Mesh
from tests.simulation.replica import wired
from tests.simulation.world import Scope, World

if TYPE_CHECKING:
    from collections.abc import Sequence

DISORDER = (0.0, 0.1, 0.5)
DEFECTS = ("defect while reconciling", "Task exception was never retrieved", "a part broke")


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one seed."""

    seed: int
    found: Sequence[str]
    trace: str
    story: Sequence[str]
    steps: int
    seconds: float
    """Of the world's time."""
    took: float
    """Seconds of ours."""
    ends: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        verdict = "; ".join(self.found) or "nothing wrong"
        return (
            f"seed {self.seed}: {verdict} ({self.steps} callbacks, {self.seconds / 3600:.1f} h, "
            f"{self.took:.1f} s, trace {self.trace})"
        )


class _Defects(logging.Handler):
    """Collects log lines that no fault excuses."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if any(message.startswith(text) for text in DEFECTS):
            error = record.exc_info[1] if record.exc_info else None
            self.found.append(f"defect: {message}: {error!r}")


def run(seed: int, scope: Scope | None = None, *, mesh: bool = False) -> Report:
    """Run one history, of one cluster or of a mesh."""
    begun = time.monotonic()
    root, defects = logging.getLogger(), _Defects()
    level = root.level
    root.setLevel(logging.ERROR)
    root.addHandler(defects)
    collects = gc.isenabled()
    # Garbage is collected when the number of objects says so, which no seed decides.
    gc.disable()
    try:
        with seeded(seed), wired():
            rng = random.Random(f"loop {seed}")
            factory = partial(SimLoop, rng, disorder=rng.choice(DISORDER))
            with asyncio.Runner(loop_factory=factory) as runner:
                world = Mesh(seed, scope or WHOLE) if mesh else World(seed, scope or Scope())
                runner.run(world.run())
                loop = runner.get_loop()
                assert isinstance(loop, SimLoop)
                steps, seconds = loop.steps, loop.time()
    finally:
        root.removeHandler(defects)
        root.setLevel(level)
        if collects:
            gc.enable()
    gc.collect()
    found = [*world.found, *dict.fromkeys(defects.found)]
    return Report(seed, found, world.trace, world.story, steps, seconds, time.monotonic() - begun, world.ends)
