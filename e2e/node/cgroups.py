"""The control groups that a cluster's Pods are put below, one in every hierarchy of the machine.

Decides how they are made and removed; the kubelet and the runtime fill them. Never touches a group of
anybody else, except that on a machine with the unified hierarchy alone the controllers are handed down
from its root.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from e2e.errors import HarnessError

MOUNTS = Path("/proc/self/mounts")
REMOVAL_SECONDS = 15.0
"""How long the kernel may take to let go of a group whose processes were killed."""


def hierarchies(mounts: Path = MOUNTS) -> list[Path]:
    """Return where every control group hierarchy is mounted, version 1 and 2."""
    fields = [line.split() for line in mounts.read_text().splitlines()]
    return [Path(entry[1]) for entry in fields if entry[2] in {"cgroup", "cgroup2"}]


def create(name: str, mounts: Path = MOUNTS) -> list[Path]:
    """Make the group ``name`` in every hierarchy, ready for processes, and return all of them."""
    for hierarchy in hierarchies(mounts):
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        # Version 1: a new group has no processors and no memory until it is told which.
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (hierarchy / file).exists():
                (group / file).write_text((hierarchy / file).read_text())
        # Version 2: a group has the controllers that its parent hands down. One that the kernel does
        # not hand down (bound to a version 1 hierarchy) is one that the kubelet does not miss.
        for parent in (hierarchy, group):
            for controller in _controllers(parent):
                with suppress(OSError):
                    (parent / "cgroup.subtree_control").write_text(f"+{controller}")
    return groups(name, mounts)


def _controllers(group: Path) -> list[str]:
    file = group / "cgroup.controllers"
    return file.read_text().split() if file.exists() else []


def groups(name: str, mounts: Path = MOUNTS) -> list[Path]:
    """Return the group ``name`` of every hierarchy that has it."""
    return [path for path in (hierarchy / name for hierarchy in hierarchies(mounts)) if path.is_dir()]


def remove(name: str, mounts: Path = MOUNTS) -> None:
    """Remove the group ``name`` and all below it; its processes have been killed before.

    ``HarnessError`` if a process is still in one after a few seconds.
    """
    deadline = time.monotonic() + REMOVAL_SECONDS
    while left := groups(name, mounts):
        for group in left:
            inner = sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True)
            for path in (*inner, group):
                with suppress(OSError):
                    path.rmdir()
        if time.monotonic() > deadline:
            raise HarnessError(f"control groups still in use: {', '.join(map(str, left))}")
        if groups(name, mounts):
            # The kernel tells nobody when the last process of a group is gone in version 1.
            time.sleep(0.05)
