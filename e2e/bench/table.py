"""The figures as tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from e2e.bench import budgets as judged
from e2e.bench.budgets import Spread, ratios, spread
from e2e.bench.names import BARE, ETCD, OPERATOR, SERVER

if TYPE_CHECKING:
    from collections.abc import Sequence

JSON = dict[str, Any]
SIDES = {"csr": "CSR leaves", "managed": "managed leaves", "half": "CSR, half load", BARE: "bare limit"}
COLUMNS = (
    "leaves/s",
    "of bare",
    "p50 s",
    "p99 s",
    "operator ms",
    "API server ms",
    "etcd ms",
    "writes",
    "others used",
)


def rows(results: JSON) -> list[tuple[str, ...]]:
    """Return name, leaves, and a text for each column, for every side and number of leaves."""
    found = []
    for place in ("small", "large"):
        sides = results[place]
        found += [
            (name, f"{sides[side][0]['count']:,}", *_texts(sides[side], sides[BARE]))
            for side, name in SIDES.items()
            if side in sides
        ]
    return found


def _texts(rounds: Sequence[JSON], bare: Sequence[JSON]) -> list[str]:
    own = OPERATOR if OPERATOR in rounds[0]["cpu"] else BARE
    return [
        said(spread(rounds, judged.rate), 0),
        said(ratios(rounds, bare, judged.rate), 2),
        said(spread(rounds, lambda each: each["p50"]), 2),
        said(spread(rounds, judged.p99), 2),
        *(said(Spread.of(each["cpu"][name] for each in rounds), 2) for name in (own, SERVER, ETCD)),
        said(spread(rounds, lambda each: each["writes"]), 2),
        f"{spread(rounds, lambda each: each['foreign']).median:.0%}",
    ]


def said(found: Spread, digits: int, unit: str = "") -> str:
    """Write a median with its spread, where there is one."""
    text = f"{found.median:.{digits}f}{unit}"
    if found.low == found.high:
        return text
    return f"{text} ({found.low:.{digits}f}..{found.high:.{digits}f})"


def rates(results: JSON) -> Table:
    """Return what was measured of each side."""
    made = Table(title="create to Ready, 16 creates in flight: median (lowest..highest); CPU per leaf")
    for column in ("side", "leaves", *COLUMNS):
        made.add_column(column, justify="right")
    for row in rows(results):
        made.add_row(*row)
    return made


def budgets(results: JSON) -> Table:
    """Return each budget and whether it is met."""
    made = Table(title="budgets")
    for column in ("what", "budget", "found", "met"):
        made.add_column(column, justify="left" if column == "what" else "right")
    for line in judged.budgets(results):
        made.add_row(line.what, bound(line), said(line.found, 2, unit(line)), "yes" if line.met else "NO")
    return made


def bound(line: judged.Budget) -> str:
    """Write the bound of a budget."""
    return f"{'≤' if line.most else '≥'} {line.bound:g}{unit(line)}"


def unit(line: judged.Budget) -> str:
    """Return the unit of a budget with the space before it."""
    return f" {line.unit}" if line.unit else ""
