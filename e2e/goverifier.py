"""Go's crypto/x509 as a program that answers many questions in one process.

Decides how it is built and asked; what it checks is in ``go/verify``.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2e import cache, toolchain

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCE = Path(__file__).parent / "go" / "verify"
SECONDS = 120


@functools.cache
def version() -> str:
    """Return what the Go that builds it says of itself: ``go1.26.6``."""
    said = subprocess.run([toolchain.go(), "version"], capture_output=True, text=True, check=True).stdout
    return said.split()[2]


@functools.cache
def program() -> Path:
    """Return the path of the program, built once from the standard library alone."""
    go = toolchain.go()
    said = subprocess.run([go, "version"], capture_output=True, text=True, check=True).stdout
    recipe = cache.digest(said, *(path.read_bytes() for path in sorted(SOURCE.iterdir())))

    def build(directory: Path) -> None:
        copy = directory / "source"
        shutil.copytree(SOURCE, copy)
        command = [str(go), "build", "-o", str(directory / "verify"), "."]
        cache.run(command, label="verify", cwd=copy, env=toolchain.environment(go))

    return cache.entry("verify", recipe, build) / "verify"


def ask(questions: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return by name why each was refused, ``""`` when it was accepted; keys as in ``go/verify``."""
    done = subprocess.run(
        [program()],
        input=json.dumps(list(questions)),
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS,
    )
    answers: dict[str, str] = json.loads(done.stdout)
    return answers
