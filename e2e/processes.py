"""Long-running programs of the harness, each in a session of its own, none left behind.

Decides how a program is started, ended and, by ``e2e.guardian``, ended after our own violent death.
Never decides which programs run. Processes are ended by their own process group and nothing else.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from e2e import guardian
from e2e.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

STOP_SECONDS = 15.0
"""How long a program may take to end after SIGTERM."""
TAIL = 3000
"""Characters of a log that an error shows."""


class Process:
    """One program; its output is appended to ``log`` over all its starts."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self.env = dict(env) if env is not None else {"PATH": os.environ.get("PATH", os.defpath)}
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Return the process id; 0 when it was never started or has been ended by us."""
        return self._child.pid if self._child else 0

    @property
    def alive(self) -> bool:
        """Tell whether it runs."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Start it; ``HarnessError`` when it runs already."""
        if self.alive:
            raise HarnessError(f"{self.name} runs already")
        self._forget()
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.env,
                cwd=self.log.parent,
                start_new_session=True,
            )
        tell("+", self._child.pid)
        _running.append(self)

    def stop(self, timeout: float = STOP_SECONDS) -> int:
        """End it cleanly, by force after ``timeout`` seconds; returns its exit code (0 if it never ran)."""
        return self._end(signal.SIGTERM, timeout)

    def kill(self) -> int:
        """End it without warning, and whatever it started."""
        return self._end(signal.SIGKILL, STOP_SECONDS)

    def send(self, number: signal.Signals) -> None:
        """Send a signal (for instance SIGSTOP) to its process group."""
        if self.alive and self._child:
            _signal(self._child.pid, number)

    def join(self) -> int:
        """Block until it has ended, whoever ended it, and return its exit code."""
        child = self._child
        return child.wait() if child else 0

    def wait(self, timeout: float) -> int:
        """Wait for it to end by itself; ``TimeoutError`` after ``timeout`` seconds."""
        if self._child is None:
            return 0
        try:
            code = self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} still runs after {timeout:g} s") from None
        self._forget()
        return code

    def wait_until(self, ready: Callable[[], bool], timeout: float) -> None:
        """Return once ``ready()`` is true; ``HarnessError`` with the log's end if it dies or takes longer."""
        deadline = time.monotonic() + timeout
        while not ready():
            if not self.alive:
                code = self._child.returncode if self._child else None
                raise HarnessError(f"{self.name} ended (exit {code})\n{self.tail()}")
            if time.monotonic() > deadline:
                raise HarnessError(f"{self.name} not ready after {timeout:g} s\n{self.tail()}")
            # A program that starts has nothing to watch yet.
            time.sleep(0.05)

    def tail(self) -> str:
        """Return the end of the log."""
        return self.log.read_text(errors="replace")[-TAIL:] if self.log.exists() else ""

    def _end(self, number: signal.Signals, timeout: float) -> int:
        child = self._child
        if child is None:
            return 0
        if child.poll() is None:
            # A stopped process would take the signal only after somebody continued it.
            _signal(child.pid, number)
            _signal(child.pid, signal.SIGCONT)
            try:
                child.wait(timeout)
            except subprocess.TimeoutExpired:
                _signal(child.pid, signal.SIGKILL)
                child.wait(STOP_SECONDS)
        self._forget()
        return child.returncode

    def _forget(self) -> None:
        if self._child:
            tell("-", self._child.pid)
        self._child = None
        if self in _running:
            _running.remove(self)


def _signal(group: int, number: signal.Signals) -> None:
    # Another thread that joins it may have collected it since it was last seen alive.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


_running: list[Process] = []


@atexit.register
def _end_all() -> None:
    for process in reversed(_running.copy()):
        process.kill()


def release(process: Process) -> None:
    """Let a process outlive the harness."""
    if process in _running:
        _running.remove(process)
    tell("-", process.pid)


def keep(directory: Path, kept: Collection[Process]) -> None:
    """Let processes and their run directory outlive the harness; ``end_kept`` ends them."""
    pids = [process.pid for process in kept]
    (directory / _KEPT).write_text(json.dumps({str(pid): _birth(pid) for pid in pids}))
    for process in kept:
        release(process)
    tell("u", directory)


def is_kept(directory: Path) -> bool:
    """Tell whether ``directory`` is that of kept processes."""
    return (directory / _KEPT).exists()


def end_kept(directory: Path) -> None:
    """End the processes that were kept with a run directory, and remove it."""
    kept: dict[str, str] = json.loads((directory / _KEPT).read_text())
    # A process id may belong to somebody else by now.
    guardian.end({int(pid): None for pid, birth in kept.items() if _birth(int(pid)) == birth})
    shutil.rmtree(directory, ignore_errors=True)


_KEPT = "kept.json"


def _birth(pid: int) -> str:
    """Return when a process was started, in whatever form the system tells; empty when it is gone."""
    status = Path("/proc", str(pid), "stat")
    try:
        return status.read_text().rpartition(")")[2].split()[19]
    except OSError:
        asked = ["ps", "-o", "lstart=", "-p", str(pid)]
        said = subprocess.run(asked, capture_output=True, text=True, check=False)
        return said.stdout.strip()


_telling = threading.Lock()


def tell(action: str, value: object) -> None:
    """Tell the guardian; see ``e2e.guardian`` for the actions."""
    with _telling:
        os.write(_guardian(), f"{action} {value}\n".encode())


@functools.cache
def _guardian() -> int:
    """Start the guardian, once, and return the descriptor of our end of its pipe."""
    reading, writing = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", guardian.__file__], stdin=reading, start_new_session=True
    )
    os.close(reading)
    # It ends by itself once our end of the pipe is closed; nobody waits for it.
    child.returncode = 0
    return writing


def run_directory(name: str) -> Path:
    """Return a new private directory for the files of one cluster, removed at the latest with us."""
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    directory = Path(tempfile.mkdtemp(prefix=f"meshca-{name}-", dir=base))
    tell("d", directory)
    return directory


def remove_directory(directory: Path) -> None:
    """Remove a directory made by ``run_directory``."""
    shutil.rmtree(directory, ignore_errors=True)
    tell("u", directory)


# --- ports and addresses ------------------------------------------------------------------------

_PORTS = range(20000, 32000)
"""Below the range from which the kernel takes the source ports of connections."""


def free_port() -> int:
    """Reserve a TCP port of 127.0.0.1 for this process; no other harness process gets it."""
    while True:
        port = secrets.choice(_PORTS)
        if _reserve(f"port-{port}") and _can_bind("127.0.0.1", port):
            return port


def free_address(port: int) -> str:
    """Reserve a loopback address on which ``port`` is free (Linux serves all of 127.0.0.0/8)."""
    while True:
        address = ".".join(["127", *(str(16 + secrets.randbelow(224)) for _ in range(3))])
        if _can_bind(address, port) and _reserve(f"address-{address}"):
            return address


def _reserve(name: str) -> bool:
    directory = Path(tempfile.gettempdir(), f"meshca-reserved-{os.getuid()}")
    directory.mkdir(mode=0o700, exist_ok=True)
    # Held until this process ends, hence a bare descriptor that nothing closes.
    held = os.open(directory / name, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        return False
    return True


def _can_bind(address: str, port: int) -> bool:
    with socket.socket() as probe:
        # Connections in TIME_WAIT do not keep a server from listening there.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
