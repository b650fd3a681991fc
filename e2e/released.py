"""The last release, as a tree beside this one: what an upgrade comes from and a rollback goes back to.

Decides which commit that is: the newest tag ``v*`` among the ancestors of this one, else the commit that
``.ci/released`` names, from the time before the first tag. Never changes the checkout.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from e2e import cache
from e2e.errors import CannotRunError

ROOT = Path(__file__).resolve().parent.parent
NAMED = ROOT / ".ci" / "released"


def commit(root: Path = ROOT) -> str:
    """Return the commit of the last release; ``CannotRunError`` where the history does not reach it."""
    # A release is no upgrade from itself.
    tag = _git(root, "describe", "--tags", "--match=v*", "--abbrev=0", "HEAD^")
    name = tag or (root / ".ci" / "released").read_text().strip()
    found = _git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if not found:
        raise CannotRunError(f"the last release, {name}, is not in this clone's history: fetch all of it")
    return found


def tree(root: Path = ROOT) -> Path:
    """Return the files of the last release, from the cache."""
    wanted = commit(root)

    def unpack(directory: Path) -> None:
        archive = subprocess.run(
            ["git", "archive", "--format=tar", wanted], cwd=root, check=True, capture_output=True
        ).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(directory, filter="data")

    return cache.entry("release", wanted[:12], unpack)


def _git(root: Path, *arguments: str) -> str:
    """Return what git printed, or "" when it failed or there is no git or repository."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, check=False, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
