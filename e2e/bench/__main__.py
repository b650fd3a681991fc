"""``make bench``: measure everything, print tables, write JSON; the pages and pictures are made of the JSON.

``--quick`` is for development: the same measurements, few and small, whose figures mean little. ``--docs``
writes into docs/, ``--pages`` only makes pages and pictures anew from the figures committed there.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from e2e import flavours
from e2e.bench import measures, meter, page, plots, scaling, table
from e2e.bench.world import World
from e2e.controlplane import ControlPlane

JSON = dict[str, Any]
DOCS = Path(__file__).parents[2] / "docs"
COMMITTED = DOCS / "benchmarks.json"
PARTS = ("cluster", "scale")
LEAVES = {True: 2_000, False: 100_000}
"""Leaves of the simulated fleet, by whether it is to be quick."""


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few and small measurements")
    parser.add_argument("--part", choices=PARTS, action="append", help="measure this only; the rest is kept")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--docs", action="store_true", help="write figures, pages and pictures into docs/")
    parser.add_argument("--pages", action="store_true", help="make pages and pictures of committed figures")
    arguments = parser.parse_args()
    if arguments.pages:
        publish(json.loads(COMMITTED.read_text()))
        return 0
    results: JSON = json.loads(COMMITTED.read_text()) if COMMITTED.exists() else {}
    for part in arguments.part or PARTS:
        results |= _cluster(quick=arguments.quick) if part == "cluster" else _scale(quick=arguments.quick)
    results = rounded(results)
    if "small" in results:
        Console(width=150).print(table.rates(results), table.budgets(results))
    if arguments.json:
        arguments.json.write_text(_text(results))
    if arguments.docs:
        COMMITTED.write_text(_text(results))
        publish(results)
    return 0


def _cluster(*, quick: bool) -> JSON:
    sizes = measures.QUICK if quick else measures.FULL
    console = Console(stderr=True)
    with flavours.make("controlplane", "bench") as cluster:
        assert isinstance(cluster, ControlPlane)
        found = measures.Measures(World(cluster), sizes, console.print).run()
        return {"machine": _machine(cluster.version)} | found


def _scale(*, quick: bool) -> JSON:
    command = [sys.executable, "-m", "tests.perf.scale", "--leaves", str(LEAVES[quick])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=DOCS.parent)
    return {"scale": json.loads(done.stdout)}


def _machine(kubernetes: str) -> JSON:
    kilobytes = Path("/proc/meminfo").read_text().split("\n", 1)[0].split()[1]
    return {
        "cores": meter.CORES,
        "memory_gib": round(int(kilobytes) / 2**20),
        "python": platform.python_version(),
        "kubernetes": kubernetes,
    }


def rounded(found: Any) -> Any:
    """Return figures in four digits: more would be noise, and would change with each run of a page."""
    if isinstance(found, dict):
        return {key: rounded(value) for key, value in found.items()}
    if isinstance(found, list):
        return [rounded(value) for value in found]
    return float(f"{found:.4g}") if isinstance(found, float) else found


def publish(results: JSON) -> None:
    """Write pages and pictures."""
    (DOCS / "benchmarks.md").write_text(page.render(results))
    (DOCS / "scaling.md").write_text(scaling.render(results["scale"]))
    plots.draw(results, DOCS / "images")


def _text(results: JSON) -> str:
    return json.dumps(results, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.exit(main())
