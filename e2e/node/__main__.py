"""Ends a cluster that was kept: ``python -m e2e.node DIRECTORY``, its run directory."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
from pathlib import Path

from e2e.node import cgroups
from e2e.node.layout import Layout
from e2e.node.sandbox import Sandbox
from e2e.processes import STOP_SECONDS


def end(directory: Path) -> None:
    """End every process of the cluster and remove its control groups and files."""
    where = Layout(directory, directory, directory)
    if pid := Sandbox(where).pid:
        first = os.pidfd_open(pid)
        signal.pidfd_send_signal(first, signal.SIGKILL)
        # It ends after everything else in its namespace.
        select.select([first], [], [], STOP_SECONDS)
        os.close(first)
    cgroups.remove(where.cgroup)
    shutil.rmtree(directory)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1], "sandbox.json").exists():
        sys.exit("usage: python -m e2e.node DIRECTORY (the run directory of a kept cluster)")
    end(Path(sys.argv[1]))
