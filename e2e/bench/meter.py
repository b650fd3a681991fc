"""What processes cost: CPU time and memory as the kernel counts them.

Decides nothing; reads /proc. ``foreign`` is the part of the machine that others used meanwhile, which says
whether a measurement was a quiet one.
"""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

TICKS = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count() or 1
_BUSY = slice(1, 9)
_IDLE = (4, 5)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, user and system, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    return _memory(pid, "VmRSS")


def peak_mib(pid: int) -> float:
    """Return the highest resident memory of a process in MiB since its start or ``forget_peak``."""
    return _memory(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Let ``peak_mib`` begin anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _memory(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def _machine_seconds() -> float:
    """Return the CPU time that the machine was busy or taken away, all cores."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return sum(int(fields[at]) for at in range(*_BUSY.indices(len(fields))) if at not in _IDLE) / TICKS


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the clock and at the CPU time of each process and of the machine."""

    at: float
    cpu: Mapping[str, float]
    own: float
    machine: float

    def since(self, before: Reading) -> dict[str, float]:
        """Return the CPU seconds of each process since an earlier look."""
        return {name: value - before.cpu[name] for name, value in self.cpu.items()}

    def foreign(self, before: Reading) -> float:
        """Return the part of all cores that processes not of this benchmark used, 0 to 1."""
        ours = sum(self.since(before).values()) + self.own - before.own
        spent = self.machine - before.machine - ours
        return max(0.0, spent / ((self.at - before.at) * CORES))


class Meter:
    """Reads the same processes again and again; children that have ended count as our own."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)

    def read(self) -> Reading:
        """Look now."""
        usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return Reading(
            at=time.perf_counter(),
            cpu={name: cpu_seconds(pid) for name, pid in self._pids.items()},
            own=sum(each.ru_utime + each.ru_stime for each in usage),
            machine=_machine_seconds(),
        )
