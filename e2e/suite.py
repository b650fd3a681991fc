"""``make test``: every tier in one run, the slow builds meanwhile in the background.

Decides the order and the verdict. The sections are the Makefile's own targets, so that nobody gets
another answer by running one alone. Goes on after a failed section; the exit code tells of any.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from e2e import processes

ROOT = Path(__file__).parents[1]
SECTIONS = (
    ("lint", ("lint",)),
    ("types", ("type",)),
    ("unit", ("unit",)),
    ("simulation", ("simulation",)),
    ("control plane", ("e2e", "ARGS=--ignore=e2e/node")),
    ("node", ("e2e", "PART=e2e/node")),
)
AFTER_BUILD = "control plane"
"""The first section that needs what is built in the background."""
WIDTH = 78
LONGEST = 400
"""Characters that are repeated of what a failed test said."""

_COUNT = re.compile(r"(\d+) (passed|failed|skipped|errors?|xfailed|xpassed|deselected|warnings?)\b")
_FAILED = re.compile(r"^(?:FAILED|ERROR) \S+::")
_CLOSING = re.compile(r"^=* ?((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s.*$")


@dataclass(slots=True)
class Section:
    """One section as it went; ``seconds`` is wall time, ``closing`` pytest's last line."""

    name: str
    code: int = 0
    seconds: float = 0.0
    closing: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    left_out: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def hear(self, line: str) -> None:
        """Take from one line of output what the verdict needs."""
        plain = re.sub(r"\x1b\[[0-9;]*m", "", line).strip()
        if plain.startswith("NOT RUN:"):
            self.left_out.append(plain)
        if _FAILED.match(plain):
            self.failures.append(plain[:LONGEST])
        if found := _CLOSING.match(plain):
            self.closing = plain.strip("= ")
            self.counts = Counter(
                {
                    kind.rstrip("s") if kind == "errors" else kind: int(n)
                    for n, kind in _COUNT.findall(found[1])
                }
            )


def main() -> int:
    """Run every section and return the exit code of the whole."""
    started = time.monotonic()
    building = _background()
    done: list[Section] = []
    try:
        for name, target in SECTIONS:
            if name == AFTER_BUILD:
                done.append(_awaited(building, started))
            done.append(_run(name, target))
    finally:
        _end(building)
    return report(done, time.monotonic() - started)


def report(done: list[Section], seconds: float) -> int:
    """Print the table, each tier's closing line, what failed or was left out and the verdict."""
    print(f"\n{'section':<16}{'result':<10}{'seconds':>8}")
    for section in done:
        print(f"{section.name:<16}{'failed' if section.code else 'passed':<10}{section.seconds:>8.0f}")
    print()
    for section in done:
        if section.closing:
            print(f"{section.name}: {section.closing}")
    told = (line for section in done for line in (*section.failures, *section.left_out))
    for line in dict.fromkeys(told):
        print(line)
    failed = [section.name for section in done if section.code]
    if failed:
        print(f"failed sections: {', '.join(failed)}")
    total = sum((section.counts for section in done), Counter[str]())
    print(f" {verdict(total, failed=bool(failed), seconds=seconds)} ".center(WIDTH, "="))
    return int(bool(failed))


def verdict(total: Counter[str], *, failed: bool, seconds: float) -> str:
    """Return pytest's closing line over all tiers; a section that failed otherwise counts as an error."""
    if failed and not total["failed"] and not total["error"]:
        total = total + Counter({"error": 1})
    kinds = ("failed", "passed", "skipped", "deselected", "xfailed", "xpassed", "warnings", "error")
    parts = [f"{total[kind]} {kind}" for kind in kinds if total[kind]]
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{', '.join(parts) or 'no tests ran'} in {seconds:.2f}s ({hours}:{minutes:02}:{rest:02})"


def _background() -> subprocess.Popen[bytes]:
    """Start the builds; their progress lines come between those of the sections."""
    building = subprocess.Popen([sys.executable, "-m", "e2e.build"], cwd=ROOT, start_new_session=True)
    processes.tell("+", building.pid)
    return building


def _end(building: subprocess.Popen[bytes]) -> None:
    """End the builds, compilers and all, if they still run."""
    if building.poll() is None:
        os.killpg(building.pid, signal.SIGTERM)
        building.wait()
    processes.tell("-", building.pid)


def _awaited(building: subprocess.Popen[bytes], started: float) -> Section:
    code = building.wait()
    return Section("builds", code, time.monotonic() - started)


def _run(name: str, target: tuple[str, ...]) -> Section:
    section = Section(name)
    print(f"\n{f' {name} ':-^{WIDTH}}", flush=True)
    started = time.monotonic()
    # The options of an outer make (its job server above all) are not for this one.
    environment = {**os.environ, "MAKEFLAGS": "", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        ["make", "--no-print-directory", *target],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            print(line, end="", flush=True)
            section.hear(line)
    section.code = child.returncode
    section.seconds = time.monotonic() - started
    return section


if __name__ == "__main__":
    sys.exit(main())
