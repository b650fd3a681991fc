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
    for group in reversed(groups):
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            continue
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
