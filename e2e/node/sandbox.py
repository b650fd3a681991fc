"""A sandbox seen from outside: network, mount and pid namespaces, and the servers in them.

Decides how the sandbox is made, spoken to and taken down. Never decides which servers run in it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2e import cache, processes
from e2e.errors import HarnessError
from e2e.node import cgroups
from e2e.node.layout import NODE_NETWORK, ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from e2e.node.layout import Layout

START_SECONDS = 30.0
ANSWER_SECONDS = 10.0


class Sandbox:
    """One sandbox; its first process is ``e2e.node.inner``."""

    def __init__(self, where: Layout) -> None:
        self.layout = where
        self._process = processes.Process(
            "sandbox",
            ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
             sys.executable, "-m", "e2e.node.inner", str(where.directory / "sandbox.json")],
            where.directory / "sandbox.log",
            env=where.environment,
        )  # fmt: skip

    def start(self) -> None:
        """Make the sandbox; returns when it takes orders."""
        for group in cgroups.create(self.layout.cgroup):
            processes.tell("d", group)
        for directory in (self.layout.logs, *self.layout.stand_ins.values()):
            directory.mkdir()
        spec = {
            "control": str(self.layout.control),
            "address": NODE_NETWORK,
            "stand_ins": {place: str(path) for place, path in self.layout.stand_ins.items()},
            "keep": sorted(map(str, self._kept())),
        }
        (self.layout.directory / "sandbox.json").write_text(json.dumps(spec))
        self._process.start()
        self._process.wait_until(self._answers, START_SECONDS)

    def stop(self) -> None:
        """End every process in the sandbox, and remove its control groups."""
        if pid := self.pid:
            os.kill(pid, signal.SIGKILL)
            # Its parent ends after it, and it ends after everything else in its namespace.
            with suppress(TimeoutError):
                self._process.wait(processes.STOP_SECONDS)
        self._process.kill()
        groups = cgroups.groups(self.layout.cgroup)
        cgroups.remove(self.layout.cgroup)
        for group in groups:
            processes.tell("u", group)

    @property
    def pid(self) -> int:
        """Return the machine's process id of the sandbox's first process; 0 when it is gone."""
        try:
            with self._connect() as connection:
                # The kernel translates it into the namespace of who asks.
                raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return 0
        return int(struct.unpack("3i", raw)[0])

    def keep(self) -> None:
        """Let the sandbox outlive this process; ``python -m e2e.node DIRECTORY`` ends it then."""
        processes.release(self._process)
        for group in cgroups.groups(self.layout.cgroup):
            processes.tell("u", group)

    def pids(self) -> list[int]:
        """Return the machine's process ids of everything that runs in the sandbox, Pods included."""
        first = self.pid
        if not first:
            return []
        children = _children()
        found = [first]
        for pid in found:
            found += children.get(pid, ())
        return found

    def launch(self, name: str, command: Sequence[str]) -> None:
        """Start a server; its output is appended to ``logs/NAME.log``."""
        self._order(
            start=name,
            command=list(command),
            env=self.layout.environment,
            log=str(self.layout.logs / f"{name}.log"),
        )

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a server; nothing happens when it does not run."""
        self._order(signal=name, number=int(number))

    def alive(self, name: str) -> bool:
        """Tell whether a server runs."""
        return name in self._order(status=True)["running"]

    def end(self, name: str, number: signal.Signals = signal.SIGTERM, timeout: float = 30.0) -> None:
        """Send a signal to a server and return when it is gone; by force after ``timeout`` seconds."""
        self.send(name, number)
        deadline = time.monotonic() + timeout
        while self.alive(name):
            if time.monotonic() > deadline:
                self.send(name, signal.SIGKILL)
            # Its parent is in the sandbox, so there is nothing here to wait on.
            time.sleep(0.02)

    def enter(self, *namespaces: str) -> tuple[str, ...]:
        """Return what is put before a command that shall run in these namespaces (net, mount, pid)."""
        pid = self.pid
        if not pid:
            raise HarnessError(f"the sandbox is gone\n{self._process.tail()}")
        return ("nsenter", f"--target={pid}", *(f"--{namespace}" for namespace in namespaces), "--")

    def run(
        self,
        command: Sequence[str],
        *,
        namespaces: Sequence[str] = ("net", "mount", "pid"),
        env: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end; ``HarnessError`` with its output when it fails and ``check``."""
        done = subprocess.run(
            [*self.enter(*namespaces), *command],
            env=env or self.layout.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise HarnessError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def tail(self, name: str) -> str:
        """Return the end of a server's log."""
        log = self.layout.logs / f"{name}.log"
        return log.read_text(errors="replace")[-processes.TAIL :] if log.exists() else ""

    def _kept(self) -> set[Path]:
        """Return what servers need of the machine, wherever it lies."""
        layout = self.layout
        python = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent.parent}
        return {ROOT, cache.root(), layout.directory, layout.debs, layout.binaries.resolve(), *python}

    def _answers(self) -> bool:
        return self.pid != 0

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(ANSWER_SECONDS)
        directory = os.open(self.layout.control.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            # Through the descriptor: the path itself may be longer than a socket's address.
            connection.connect(f"/proc/self/fd/{directory}/{self.layout.control.name}")
        except OSError:
            connection.close()
            raise
        finally:
            os.close(directory)
        return connection

    def _order(self, **order: Any) -> dict[str, Any]:
        try:
            with self._connect() as connection, connection.makefile("rwb") as stream:
                stream.write(json.dumps(order).encode() + b"\n")
                stream.flush()
                answer: dict[str, Any] = json.loads(stream.readline())
        except (OSError, ValueError) as error:
            raise HarnessError(f"the sandbox does not answer: {error}\n{self._process.tail()}") from error
        if "error" in answer:
            raise HarnessError(answer["error"])
        return answer


def _children() -> dict[int, list[int]]:
    """Return the children of every process of the machine by the id of their parent."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        # A process may end while it is looked at.
        with suppress(OSError):
            # The second field, the name, is in brackets and may contain anything.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    return children
