"""Where output goes: colours and live bars on a terminal, the same plain lines every time elsewhere.

Decides how text looks, never what it says. Text of the cluster may come from anybody, so control
characters are shown and not sent to the terminal.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

from meshca.api.v1alpha1.scalars import format_time

PLAIN_WIDTH = 10_000
"""Columns of a place that is no terminal: nothing is ever wrapped there."""
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def clean(text: str) -> str:
    """Replace what is not printable, so that nobody's status steers a terminal."""
    return "".join(
        letter if letter.isprintable() else " " if letter in "\n\t" else "\ufffd" for letter in text
    )


def moment(when: datetime | None, now: datetime) -> str:
    """Write a time and how far away it is; ``-`` for none."""
    if when is None:
        return "-"
    left = when - now
    away = f"in {span(left)}" if left > timedelta() else f"{span(left)} ago"
    return f"{format_time(when)} ({away})"


def span(length: timedelta) -> str:
    """Write a duration in its one largest unit; the sign is dropped."""
    seconds = abs(int(length.total_seconds()))
    for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


class Screen:
    """Standard output and error of one command; ``live`` tells whether a person watches a terminal."""

    def __init__(self, out: TextIO | None = None, errors: TextIO | None = None) -> None:
        self._out, self._errors = out or sys.stdout, errors or sys.stderr
        self.live = self._out.isatty()
        self.console = Console(
            file=self._out,
            force_terminal=self.live,
            no_color=None if self.live else True,
            width=None if self.live else PLAIN_WIDTH,
            markup=False,
            emoji=False,
            highlight=False,
        )

    def line(self, text: str = "", style: str = "") -> None:
        """Write one line."""
        self.console.print(Text(clean(text), style=style), soft_wrap=True)

    def error(self, text: str) -> None:
        """Write one line to standard error."""
        self._errors.write(f"meshca: {clean(text)}\n")

    def note(self, text: str) -> None:
        """Write one line to standard error that is no complaint, so that standard output can go to a file."""
        self._errors.write(f"{clean(text)}\n")

    def text(self, text: str) -> None:
        """Write text of our own exactly as it is."""
        self._out.write(text)

    def json(self, value: Any) -> None:
        """Write JSON, indented."""
        self._out.write(json.dumps(value, indent=2) + "\n")

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Write columns under headings, as kubectl does."""
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
        for heading in headings:
            table.add_column(heading, overflow="fold")
        for row in rows:
            table.add_row(*(Text(clean(cell)) for cell in row))
        self._print(table)

    def pairs(self, rows: Iterable[tuple[str, str, str]], indent: int = 2) -> None:
        """Write labels and what belongs to them, with the style of each."""
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for label, text, style in rows:
            table.add_row(Text(" " * indent + clean(label), style="dim"), Text(clean(text), style=style))
        self._print(table)

    def _print(self, table: Table) -> None:
        if self.live:
            self.console.print(table)
            return
        with self.console.capture() as captured:
            self.console.print(table)
        self._out.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
