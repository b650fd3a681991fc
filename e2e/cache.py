"""The cache of things that are built or fetched once: ``$XDG_CACHE_HOME/meshca``.

Decides where an entry lives, that it is either whole or absent, and that two processes never build the
same one. Never decides what is in it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from e2e.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

HEARTBEAT = 30.0
"""Seconds between two progress lines of a command that says nothing itself."""


def root() -> Path:
    """Return the cache directory, made when absent."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(base, "meshca")
    path.mkdir(parents=True, exist_ok=True)
    return path


def digest(*parts: str | bytes) -> str:
    """Return 12 hex digits over the parts of a recipe; the borders between parts count."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()[:12]


def entry(name: str, recipe: str, build: Callable[[Path], None]) -> Path:
    """Return the directory of an entry, built now by ``build(directory)`` if it is not there.

    ``name`` says what it is and its version, ``recipe`` is a digest of everything it is made from.
    The directory appears under its name only when ``build`` returned; a failed build leaves nothing.
    """
    target = root() / f"{name}-{recipe}"
    if target.is_dir():
        return target
    with _locked(target):
        if target.is_dir():
            return target
        # Nobody else builds it now, so these are what a killed build left.
        for left in target.parent.glob(f".{target.name}.*/"):
            shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        started = time.monotonic()
        say(f"{name}: building (once; kept in {target})")
        try:
            build(work)
            work.chmod(0o755)
            work.rename(target)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        say(f"{name}: done in {time.monotonic() - started:.0f} s")
    return target


def say(text: str) -> None:
    """Print one progress line for a person; never captured output of a test."""
    print(f"[meshca] {text}", file=sys.__stderr__, flush=True)


def run(
    command: Sequence[str],
    *,
    label: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    quiet: bool = False,
) -> str:
    """Run a long command, with a progress line now and then, and return what it printed.

    ``quiet`` keeps its error output out of what is returned. ``HarnessError`` with the end of its output
    when it fails.
    """
    with tempfile.TemporaryFile("w+") as output, _heartbeat(label, output):
        errors = subprocess.DEVNULL if quiet else subprocess.STDOUT
        done = subprocess.run(command, cwd=cwd, env=env, stdout=output, stderr=errors, check=False)
        output.seek(0)
        text = output.read()
    if done.returncode:
        raise HarnessError(f"{label}: {command[0]} exit {done.returncode}\n{text[-4000:]}")
    return text


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    lock = target.with_name(f".{target.name}.lock")
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{target.name}: another process is building it, waiting")
            with _heartbeat(target.name):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _heartbeat(label: str, output: IO[str] | None = None) -> Iterator[None]:
    """Say every while how long it has taken and, if ``output`` grows, how many lines it has."""
    over = threading.Event()
    started = time.monotonic()

    def beat() -> None:
        while not over.wait(HEARTBEAT):
            lines = _lines(output) if output else 0
            say(f"{label}: {time.monotonic() - started:.0f} s" + (f", {lines} steps so far" if lines else ""))

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _lines(output: IO[str]) -> int:
    """Count lines without moving the position that the writing process shares with us."""
    size = os.fstat(output.fileno()).st_size
    return os.pread(output.fileno(), size, 0).count(b"\n")
