"""The progress of a rotation as a bar on a terminal, or as a line per step elsewhere.

Decides when a line is worth writing: at a new phase, and at each tenth of the leaves.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from meshca.cli.rotation import PHASES
from meshca.cli.screen import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from meshca.cli.rotation import Verdict
    from meshca.cli.screen import Screen

_STEP = 10


class _Lines:
    """One line per phase and per tenth of the leaves."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._last = ("", -1)

    def __call__(self, verdict: Verdict) -> None:
        rotation = verdict.rotation
        if verdict.phase not in PHASES:
            return
        tenth = rotation.percent // _STEP if verdict.phase == "Reissue" else 0
        if (verdict.phase, tenth) == self._last:
            return
        self._last = (verdict.phase, tenth)
        moved = (
            f" {rotation.percent} % ({rotation.reissued} of {rotation.leaves} leaves)"
            if rotation.leaves
            else ""
        )
        self._screen.line(f"{verdict.phase}{moved}: {verdict.text}")


class _Bars:
    """A bar over the phases, and one over the leaves once they move."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._phases = progress.add_task("waiting for the operator", total=len(PHASES))
        self._leaves = progress.add_task("leaves", total=None, visible=False)

    def __call__(self, verdict: Verdict) -> None:
        rotation = verdict.rotation
        if verdict.phase in PHASES:
            done = PHASES.index(verdict.phase)
            self._progress.update(self._phases, completed=done, description=verdict.phase)
        elif verdict.phase == "Completed":
            self._progress.update(self._phases, completed=len(PHASES), description="Completed")
        if rotation.leaves:
            self._progress.update(
                self._leaves,
                total=rotation.leaves,
                completed=rotation.reissued,
                visible=True,
                description=clean(f"leaves to {rotation.to}"),
            )


@contextmanager
def shown(screen: Screen) -> Iterator[Callable[[Verdict], None]]:
    """Return what to tell of each step while the rotation is watched."""
    if not screen.live:
        yield _Lines(screen)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen.console) as progress:
        yield _Bars(progress)
