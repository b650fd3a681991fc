"""What becomes of the operator with a hundred thousand leaves: start-up, memory, renewals, a rotation.

The real engine on a virtual clock, days in minutes (``python -m tests.perf.scale``). CPU and memory are those
of the process that holds the engine; moments are virtual. Each phase is a process of its own, forked from the
one in which the CA was made, so that one phase's memory is not counted in the next.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import looptime

from meshca.api import names
from tests.perf import fleet
from tests.perf.fleet import Books, FleetCluster

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tests.perf.fleet import FleetGateway

JSON = dict[str, Any]
TTL = 72 * 3600.0
BUCKET = 1800.0
"""Seconds of virtual time over which renewals are counted."""
GENERATIONS = (("first", 0.6 * TTL, 0.9 * TTL), ("second", 1.2 * TTL, 1.8 * TTL))
"""When the renewals of leaves that were all issued at once are due, of the first and the second kind."""
OVER = 1.8 * TTL + BUCKET
REISSUE_PER_SECOND = 50.0


class Loop(asyncio.SelectorEventLoop):
    """A loop that remembers its longest step, in seconds of CPU."""

    longest = 0.0

    def _run_once(self) -> None:
        started = time.thread_time()
        super()._run_once()  # type: ignore[misc]
        Loop.longest = max(Loop.longest, time.thread_time() - started)


def run(work: Awaitable[JSON]) -> JSON:
    """Run a coroutine in virtual time."""
    made = looptime.make_event_loop_class(Loop)

    async def main() -> JSON:
        return await work

    with asyncio.Runner(loop_factory=lambda: made(start=0, end=None)) as runner:
        return runner.run(main())


def forked(work: Callable[[], JSON], folder: Path) -> JSON:
    """Run work in a child that shares everything made so far, and return what it returns."""
    answer = folder / "answer"
    answer.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            answer.write_text(json.dumps(work()))
            code = 0
        except Exception:  # noqa: BLE001  told here, since the parent hears no more than the code
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError(f"a phase failed with status {status}")
    found: JSON = json.loads(answer.read_text())
    return found


def rss_mib() -> float:
    """Return the resident memory of this process in MiB."""
    return _memory("VmRSS")


def peak_mib() -> float:
    """Return the highest resident memory of this process in MiB."""
    return _memory("VmHWM")


def _memory(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def forget_peak() -> None:
    """Let ``peak_mib`` begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


@dataclass
class Scale:
    """The phases, one after another, on the same CA."""

    cluster: FleetCluster
    count: int
    folder: Path

    def run(self) -> JSON:
        """Return the figures of all phases."""
        elapsed: JSON = run(self._bootstrap())
        self.cluster.clock.step(elapsed["seconds"])
        fresh, issued = self.folder / "fresh", self.folder / "issued"
        fleet.write(Books(self.count, fresh))
        made = forked(lambda: run(self._issue(Books(self.count, fresh, issued))), self.folder)
        self.cluster.clock.step(made.pop("virtual_seconds"))
        found: JSON = {"leaves": self.count, "issue": made}
        return found | forked(lambda: run(self._live(Books(self.count, issued, written=1))), self.folder)

    async def _bootstrap(self) -> JSON:
        """Make the CA and everybody's namespaces."""
        cluster = self.cluster
        cluster.books = Books(0, Path(os.devnull))
        cluster.policy()
        cluster.configure()
        cluster.people()
        await asyncio.sleep(60)
        async with cluster.operator():
            await cluster.until_ready()
            await asyncio.sleep(1200)
        return {"seconds": asyncio.get_running_loop().time()}

    async def _issue(self, books: Books) -> JSON:
        """Issue every leaf for the first time."""
        self.cluster.books = books
        used = time.process_time()
        async with self.cluster.operator() as engine:
            await self.cluster.until(lambda: len(books.issued) == self.count, 3600)
            cast("FleetGateway", engine._gateway).close()
        return {
            "cpu_ms": (time.process_time() - used) * 1000 / self.count,
            "virtual_seconds": asyncio.get_running_loop().time(),
        }

    async def _live(self, books: Books) -> JSON:
        """Start on leaves that are all ready, live through their renewals, then rotate."""
        gc.collect()
        forget_peak()
        before = rss_mib()
        self.cluster.books = books
        Loop.longest, used = 0.0, time.process_time()
        async with self.cluster.operator() as engine:
            leaves = engine.store.leaves
            await self.cluster.until(
                lambda: len(leaves) == self.count and not leaves.unread("default") and _idle(engine), 3600
            )
            started = {
                "cpu_seconds": time.process_time() - used,
                "peak_mib": peak_mib(),
                "rss_mib": rss_mib(),
                "before_mib": before,
                "kib_per_leaf": (rss_mib() - before) * 1024 / self.count,
                "writes": len(books.issued),
                "longest_step_seconds": Loop.longest,
            }
            renewal = await self._renew(books)
            rotation = await self._rotate(books)
        assert not books.wrong, "a status was written on a version that was not the present one"
        return {"startup": started, "renewal": renewal, "rotation": rotation}

    async def _renew(self, books: Books) -> JSON:
        used, done = time.process_time(), len(books.issued)
        await asyncio.sleep(OVER)
        spent = time.process_time() - used
        issued = list(books.issued)[done:]
        counts = Counter(int(moment // BUCKET) for moment in issued)
        buckets = [counts[at] for at in range(max(counts) + 1)]
        return {
            "cpu_ms": spent * 1000 / len(issued),
            "peak_mib": peak_mib(),
            "bucket_seconds": BUCKET,
            "buckets": buckets,
            "generations": [_smooth(name, buckets, first, last) for name, first, last in GENERATIONS],
        }

    async def _rotate(self, books: Books) -> JSON:
        loop, done = asyncio.get_running_loop(), len(books.issued)
        Loop.longest, used, began = 0.0, time.process_time(), loop.time()
        spec = {"rotation": {"trigger": "scale", "reissuePerSecond": int(REISSUE_PER_SECOND)}}
        self.cluster.server.merge(names.CA_CONFIGURATION, "default", "", {"spec": spec})
        await self.cluster.until(
            lambda: self.cluster.condition("RotationInProgress")[1] == "Completed",
            self.count / REISSUE_PER_SECOND * 2 + 3600,
        )
        moved = list(books.issued)[done:]
        seconds = Counter(int(moment) for moment in moved)
        return {
            "cpu_ms": (time.process_time() - used) * 1000 / self.count,
            "seconds": loop.time() - began,
            "reissue_seconds": moved[-1] - moved[0],
            "issued": len(moved),
            "most_in_a_second": max(seconds.values()),
            "peak_mib": peak_mib(),
            "longest_step_seconds": Loop.longest,
        }


def _idle(engine: Any) -> bool:
    return not any(engine.queue.depth().values()) and not engine.queue.in_flight


def _smooth(name: str, buckets: Sequence[int], first: float, last: float) -> JSON:
    """Return how even the renewals between two moments were; the buckets at both ends are cut ones."""
    inner = buckets[int(first // BUCKET) + 1 : int(last // BUCKET)]
    mean = sum(inner) / len(inner)
    return {"name": name, "mean_per_second": mean / BUCKET, "peak_of_mean": max(inner) / mean}


def measure(count: int) -> JSON:
    """Run every phase with so many leaves and return the figures."""
    with tempfile.TemporaryDirectory() as folder:
        return Scale(FleetCluster(), count, Path(folder)).run()


def main() -> int:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leaves", type=int, default=100_000)
    sys.stdout.write(json.dumps(measure(parser.parse_args().leaves)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
