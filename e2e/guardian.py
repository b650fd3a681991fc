"""The last one out: ends what a harness process started when that process is gone, however it went.

Runs as a process of its own, started by ``e2e.processes``; imports the standard library only. It reads
lines from its standard input: ``+ PID`` a process group to end, ``- PID`` no longer, ``d PATH`` a
directory to remove, ``u PATH`` no longer. The end of the input means that the harness is gone.
A pipe is used instead of the kernel's parent-death signal because that one follows the thread that
started a process, not the process.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time

DYING_SECONDS = 20.0
"""How long killed processes may take to go; a directory that they still use cannot be removed."""


def main() -> None:
    """Remember what is told until the input ends, then clean up."""
    # A Ctrl-C or a closed terminal must not end the guardian before its harness.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: dict[int, None] = {}
    directories: dict[str, None] = {}
    for line in sys.stdin:
        action, _, value = line.rstrip("\n").partition(" ")
        if action == "+":
            groups[int(value)] = None
        elif action == "-":
            groups.pop(int(value), None)
        elif action == "d":
            directories[value] = None
        elif action == "u":
            directories.pop(value, None)
    end(groups)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


def end(groups: dict[int, None]) -> None:
    """Kill process groups and return when they are gone, or after ``DYING_SECONDS``."""
    deadline = time.monotonic() + DYING_SECONDS
    while groups and time.monotonic() < deadline:
        for group in list(reversed(groups)):
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                del groups[group]
        # They are nobody's children here, so there is nothing to wait on.
        time.sleep(0.02)


if __name__ == "__main__":
    main()
