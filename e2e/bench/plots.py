"""The figures as SVG: the same figures give the same bytes, so that a picture changes only with them."""

from __future__ import annotations

import statistics
from functools import partial
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from e2e.bench import budgets
from e2e.bench.budgets import Spread, spread
from e2e.bench.names import BARE, ETCD, OPERATOR, SERVER
from e2e.bench.table import SIDES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

JSON = dict[str, Any]
SIZE = (8.0, 3.6)
# No date and no random ids; text stays text.
STYLE: Any = {
    "svg.hashsalt": "meshca",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
}
METADATA = {"Date": None, "Creator": None}
PROCESSES = {OPERATOR: "signer (operator, or the bare one)", SERVER: "API server", ETCD: "etcd"}


def draw(results: JSON, folder: Path) -> None:
    """Write every picture into a folder."""
    folder.mkdir(exist_ok=True)
    for name, paint in PICTURES.items():
        save(folder / f"bench-{name}.svg", partial(_painted, paint, results))


def _painted(paint: Callable[[Axes, JSON], None], results: JSON, axes: Axes) -> None:
    paint(axes, results)


def save(path: Path, paint: Callable[[Axes], None]) -> None:
    """Write one picture."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        paint(figure.subplots())
        figure.savefig(path, format="svg", metadata=METADATA)
    # Editors and reviewers dislike what the library leaves at the ends of lines.
    path.write_text("".join(f"{line.rstrip()}\n" for line in path.read_text().splitlines()))


def _groups(results: JSON) -> list[tuple[str, Sequence[JSON]]]:
    return [
        (f"{SIDES[side]}\nN = {results[place][side][0]['count']:,}", results[place][side])
        for place in ("small", "large")
        for side in ("csr", "managed", BARE)
    ]


def _rates(axes: Axes, results: JSON) -> None:
    groups = _groups(results)
    found = [spread(rounds, budgets.rate) for _, rounds in groups]
    colours = ["C7" if BARE in rounds[0]["cpu"] else "C0" for _, rounds in groups]
    axes.bar(
        [name for name, _ in groups],
        [each.median for each in found],
        yerr=_whiskers(found),
        color=colours,
        capsize=4,
    )
    axes.set_ylabel("leaves per second")
    axes.set_title("create to Ready, 16 creates in flight; median, lowest and highest round")


def _whiskers(found: Sequence[Spread]) -> list[list[float]]:
    return [[each.median - each.low for each in found], [each.high - each.median for each in found]]


def _cpu(axes: Axes, results: JSON) -> None:
    groups = _groups(results)
    names = [name for name, _ in groups]
    base = [0.0] * len(groups)
    for process, label in PROCESSES.items():
        heights = [statistics.median(_of(each, process) for each in rounds) for _, rounds in groups]
        axes.bar(names, heights, bottom=base, label=label)
        base = [below + height for below, height in zip(base, heights, strict=True)]
    axes.set_ylabel("CPU, ms per leaf")
    axes.set_title("what a leaf costs, by process; medians of rounds")
    axes.legend()


def _of(figures: JSON, process: str) -> float:
    cpu = figures["cpu"]
    return float(cpu.get(process, cpu.get(BARE, 0.0)) if process == OPERATOR else cpu[process])


def _flatness(axes: Axes, results: JSON) -> None:
    for side in ("csr", "managed", BARE):
        courses = [each["course"] for each in results["large"][side]]
        process = BARE if side == BARE else OPERATOR
        ready = [step["ready"] for step in courses[0]]
        cpu = [
            statistics.median(course[at]["cpu"][process] for course in courses) for at in range(len(ready))
        ]
        axes.plot(ready, cpu, marker="o", label=SIDES[side])
    axes.set_xlabel("leaves that exist")
    axes.set_ylabel("CPU of the signer, ms per leaf")
    axes.set_ylim(bottom=0)
    axes.set_title("what one more leaf costs; medians of rounds")
    axes.legend()


def _renewals(axes: Axes, results: JSON) -> None:
    found = results["scale"]["renewal"]
    width = found["bucket_seconds"] / 3600
    rates = [count / found["bucket_seconds"] for count in found["buckets"]]
    axes.stairs(rates, [at * width for at in range(len(rates) + 1)], fill=True)
    axes.set_xlabel("hours since every leaf was issued at once (they live 72 hours)")
    axes.set_ylabel("renewals per second")
    axes.set_title(f"renewals of {results['scale']['leaves']:,} leaves")


PICTURES: dict[str, Callable[[Axes, JSON], None]] = {
    "rates": _rates,
    "cpu": _cpu,
    "flatness": _flatness,
    "renewals": _renewals,
}
