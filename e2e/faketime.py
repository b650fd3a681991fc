"""libfaketime, Debian's, unpacked aside: a wall clock that is off, for one process and its children only.

Decides which clocks are moved: those that tell the time of day. Clocks that only measure durations are left
alone, as on a machine whose time is set wrong.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from e2e import cache, debian
from e2e.errors import HarnessError

if TYPE_CHECKING:
    from datetime import timedelta


@functools.cache
def library() -> Path:
    """Return the path of the library; ``CannotRunError`` where there is no apt."""
    apt = debian.Apt(cache.root() / "apt")
    packages = apt.packages(["libfaketime"], prune=("libc6",))
    recipe = cache.digest(*(package.sha256 for package in packages))
    entry = cache.entry("faketime", recipe, functools.partial(_unpack, apt, packages))
    found = next(entry.rglob("libfaketime.so.1"), None)
    if found is None:
        raise HarnessError(f"{entry}: no libfaketime.so.1 in it")
    return found


def environment(offset_file: Path) -> dict[str, str]:
    """Return what a process needs for a clock that is off by what a file says; see ``set_offset``."""
    return {
        "LD_PRELOAD": str(library()),
        "FAKETIME_TIMESTAMP_FILE": str(offset_file),
        # Seconds after which the file is read anew: the clock is put right while the process runs.
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }


def set_offset(offset_file: Path, offset: timedelta) -> None:
    """Move the clocks of the processes that read this file, from now on."""
    fresh = offset_file.with_suffix(".new")
    fresh.write_text(f"{offset.total_seconds():+.0f}\n")
    fresh.replace(offset_file)


def _unpack(apt: debian.Apt, packages: list[debian.Package], directory: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        debian.unpack(apt.download(packages, Path(scratch)), directory / "root")
