"""What kstatus and Argo CD make of an object: the one asked itself, the other by the Lua that we document."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from e2e import cache, toolchain
from e2e.api.world import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SOURCE: Final = ROOT / "e2e" / "go" / "health"
SCRIPT: Final = ROOT / "docs" / "health.lua"


class Health(NamedTuple):
    """Both words, and Argo CD's message."""

    kstatus: str
    argo: str
    message: str


def judge(body: dict[str, Any]) -> Health:
    """Return the health of an object as it came from the API server."""
    asked = json.dumps({"script": SCRIPT.read_text(), "objects": [body]})
    done = subprocess.run([_program()], input=asked, capture_output=True, text=True, check=True)
    (answer,) = json.loads(done.stdout)
    return Health(answer["kstatus"], answer["status"], answer["message"])


def _program() -> Path:
    """Build the program that asks, once; its modules are pinned beside it."""
    recipe = cache.digest(*(path.read_bytes() for path in sorted(SOURCE.iterdir())))

    def build(directory: Path) -> None:
        go = toolchain.go()
        copy = directory / "source"
        shutil.copytree(SOURCE, copy)
        command = [str(go), "build", "-mod=readonly", "-o", str(directory / "health"), "."]
        cache.run(command, label="health", cwd=copy, env=toolchain.environment(go))

    return cache.entry("health", recipe, build) / "health"
