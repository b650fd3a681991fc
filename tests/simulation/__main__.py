"""``python -m tests.simulation``: replay histories by number, or live through many fresh ones."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed

from tests.simulation import history, seeds

MESH = "mesh-"
MESH_EVERY = 8


def main() -> int:
    """Return 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="tests.simulation", description=__doc__)
    parser.add_argument("seeds", nargs="*", help="histories to replay, told event by event: 12, mesh-12")
    parser.add_argument("--soak", type=int, default=0, metavar="N", help="live through N fresh histories")
    parser.add_argument("--first", type=int, default=None, help="the first of them (default: by chance)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    failed = [seed for seed in chosen.seeds if not _replay(seed)]
    if chosen.soak:
        first = seeds.first_fresh() if chosen.first is None else chosen.first
        failed += _soak(range(first, first + chosen.soak), chosen.jobs)
    return int(bool(failed))


def _replay(name: str) -> bool:
    report = history.run(int(name.removeprefix(MESH)), mesh=name.startswith(MESH))
    _print(*report.story, report)
    return not report.found


def _soak(numbers: range, jobs: int) -> list[str]:
    """Live through a mesh after every few histories of one cluster, which take a tenth of its time.

    Each in a process of its own, as in a replay, so that what is found is found again by its number.
    """
    _print(f"{len(numbers)} histories from seed {numbers[0]}, {jobs} at once")
    failed = []
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawned, max_tasks_per_child=1) as pool:
        meshes = {seed: seed % MESH_EVERY == 0 for seed in numbers}
        running = {pool.submit(history.run, seed, mesh=mesh): mesh for seed, mesh in meshes.items()}
        for done in as_completed(running):
            report, kind = done.result(), MESH if running[done] else ""
            _print(f"{kind}{report}")
            if report.found:
                failed.append(f"{kind}{report.seed}")
    _print(f"{len(failed)} of {len(numbers)} found something: {failed}")
    return failed


def _print(*lines: object) -> None:
    print(*lines, sep="\n", flush=True)  # noqa: T201  this is for a person


if __name__ == "__main__":
    sys.exit(main())
