"""GnuTLS' ``certtool``: the machine's own, else Debian's, unpacked aside.

Decides where the program comes from; never what it is asked.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from e2e import cache, debian

# What every Debian has anyway, and what only other programs of the package need.
_PRUNE = ("libc6", "libgnutls-dane0")
_LAUNCHER = """#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/root
export LD_LIBRARY_PATH=$(echo "$root"/usr/lib/*-linux-gnu*):$(echo "$root"/lib/*-linux-gnu*)
exec "$root/usr/bin/certtool" "$@"
"""


@functools.cache
def certtool() -> Path:
    """Return the path of ``certtool``; ``CannotRunError`` where there is neither one nor apt."""
    found = shutil.which("certtool")
    # macOS has another program of this name.
    if found and version(Path(found)):
        return Path(found)
    apt = debian.Apt(cache.root() / "apt")
    packages = apt.packages(["gnutls-bin"], prune=_PRUNE)
    recipe = cache.digest(_LAUNCHER, *(package.sha256 for package in packages))
    return cache.entry("gnutls", recipe, functools.partial(_unpack, apt, packages)) / "certtool"


def version(program: Path) -> str:
    """Return the version that a certtool of GnuTLS says it has, ``""`` for any other program."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    said = re.match(r"certtool (\d+\.\d+\S*)", done.stdout)
    return said[1] if said else ""


def _unpack(apt: debian.Apt, packages: list[debian.Package], directory: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        debian.unpack(apt.download(packages, Path(scratch)), directory / "root")
    launcher = directory / "certtool"
    launcher.write_text(_LAUNCHER)
    launcher.chmod(0o755)
