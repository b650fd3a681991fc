"""``make profile``: where the operator's time goes while it issues leaves, by part and by function.

py-spy reads the stacks of the running process from outside, so the operator needs no switch and pays next to
nothing. That asks for the right to trace another process: root, or ``kernel.yama.ptrace_scope`` 0. Only
samples in which a thread holds the interpreter count, so waiting is left out.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from e2e import flavours
from e2e.bench.world import World
from e2e.controlplane import ControlPlane
from e2e.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERTZ = 250
SHOWN = 30
Stack = list[str]


def main() -> int:
    """Profile one load and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--managed", action="store_true")
    parser.add_argument("--raw", type=Path, help="keep the stacks here, for a flame graph")
    arguments = parser.parse_args()
    with flavours.make("controlplane", "profile") as cluster, tempfile.TemporaryDirectory() as folder:
        assert isinstance(cluster, ControlPlane)
        raw = arguments.raw or Path(folder) / "stacks"
        _record(World(cluster), arguments.count, raw, managed=arguments.managed)
        stacks = list(parse(raw.read_text()))
    Console(width=120).print(
        _table("part, by where a sample was", stacks, part),
        _table("function of meshca, with what it called", stacks, functions),
        _table("function, itself", stacks, lambda stack: {_function(stack[-1])}),
    )
    return 0


def _record(world: World, count: int, raw: Path, *, managed: bool) -> None:
    spy = Path(sysconfig.get_path("scripts")) / "py-spy"
    with world.with_operator() as gauge:
        world.place("profile", bundle=True)
        command = [str(spy), "record", "--pid", str(world.leader()), "--rate", str(HERTZ), "--gil"]
        command += ["--nonblocking", "--format", "raw", "--output", str(raw), "--duration", "unlimited"]
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as spying:
            figures = world.load(gauge, "profile", count, *(["--managed"] if managed else []))
            spying.send_signal(signal.SIGINT)
            _, said = spying.communicate(timeout=60)
    if not raw.exists():
        raise HarnessError(f"py-spy recorded nothing; it needs the right to trace the operator\n{said}")
    Console(stderr=True).print(
        f"{figures['rate']:.0f} leaves/s, CPU {figures['cpu']['operator']:.2f} ms per leaf"
    )


def parse(text: str) -> Iterator[tuple[Stack, int]]:
    """Read stacks as py-spy writes them: frames from the outside in, and how often each was seen."""
    for line in text.splitlines():
        stack, _, times = line.rpartition(" ")
        yield stack.split(";"), int(times)


def part(stack: Stack) -> set[str]:
    """Name what a sample belongs to: the innermost frame of ours, or of a library that we chose."""
    for frame in reversed(stack):
        _, _, place = frame.partition(" (")
        for library in ("kopf", "aiohttp", "yarl", "json", "cryptography", "prometheus_client", "logging"):
            if place.startswith(f"{library}/"):
                return {library}
        if place.startswith("meshca/"):
            return {"meshca." + place.split("/")[1].partition(".")[0]}
    return {"interpreter and event loop"}


def functions(stack: Stack) -> set[str]:
    """Name every function of ours in a stack, once."""
    return {_function(frame) for frame in stack if "(meshca/" in frame}


def _function(frame: str) -> str:
    """Leave the line number out."""
    head, _, _ = frame.rpartition(":")
    return f"{head})" if head else frame


def _table(title: str, stacks: list[tuple[Stack, int]], name: Callable[[Stack], set[str]]) -> Table:
    total = sum(times for _, times in stacks)
    seen: Counter[str] = Counter()
    for stack, times in stacks:
        for found in name(stack):
            seen[found] += times
    made = Table("part of the time", title)
    for found, times in seen.most_common(SHOWN):
        made.add_row(f"{times / total:.1%}", found)
    return made


if __name__ == "__main__":
    sys.exit(main())
