"""The first process of a sandbox: makes the place, then starts and signals servers as it is told.

Started as ``python -m e2e.node.inner SPEC`` in new network, mount and pid namespaces. SPEC is a JSON
file, see ``Spec``. Orders are JSON lines on a Unix socket, one order and one answer per connection:
``{"start": NAME, "command": [...], "env": {...}, "log": PATH}``, ``{"signal": NAME, "number": N}`` and
``{"status": true}``. As pid 1 it also collects the children of others. When it ends, the kernel kills
every other process of the sandbox and takes its mounts and its network down. Never waits for anything
to become ready: that is the harness's part, outside.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ORDER_BYTES = 1 << 20
ORDER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Spec:
    """How the place looks: folders that stand in for the machine's, what below them stays, the network."""

    control: str
    address: str
    stand_ins: dict[str, str]
    keep: list[str]


def run(*command: str) -> None:
    """Run one of the system's small programs; a failure ends the sandbox with its message in the log."""
    subprocess.run(command, check=True)


def mount(spec: Spec) -> None:
    """Give the sandbox folders of its own where servers would write into the machine's."""
    # The kubelet and the runtime hand mounts to each other, which private mounts would not let them.
    run("mount", "--make-rshared", "/")
    places = {"/run": "", **spec.stand_ins}
    for place, source in places.items():
        kept = [path for path in spec.keep if Path(path).is_relative_to(place)]
        before = os.open(place, os.O_PATH | os.O_DIRECTORY)
        if source:
            run("mount", "--bind", source, place)
        else:
            run("mount", "-t", "tmpfs", "-o", "mode=755", "meshca", place)
        for path in kept:
            Path(path).mkdir(parents=True, exist_ok=True)
            below = Path(path).relative_to(place)
            run("mount", "--rbind", f"/proc/{os.getpid()}/fd/{before}/{below}", path)
        os.close(before)


def connect(spec: Spec) -> None:
    """Make the node's network: one bridge without a port, so that nothing can leave the machine."""
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "node0", "type", "bridge")
    run("ip", "address", "add", spec.address, "dev", "node0")
    run("ip", "link", "set", "node0", "up")
    # Service addresses need some route before the proxy's rules get to see the packets.
    run("ip", "route", "add", "default", "dev", "node0")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


@dataclass(slots=True)
class Supervisor:
    """The servers by name; ``ended`` maps those that are gone to their wait status."""

    pids: dict[str, int] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry out one order and return the answer."""
        self.reap()
        if "start" in order:
            return self._start(order["start"], order["command"], order["env"], order["log"])
        if "signal" in order:
            return self._signal(order["signal"], order["number"])
        return {"running": sorted(self.pids), "ended": self.ended}

    def reap(self) -> None:
        """Collect every child that has ended, ours and those that were left to us."""
        names = {pid: name for name, pid in self.pids.items()}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in names:
                del self.pids[names[pid]]
                self.ended[names[pid]] = os.waitstatus_to_exitcode(status)

    def _start(self, name: str, command: list[str], env: dict[str, str], log: str) -> dict[str, Any]:
        if name in self.pids:
            return {"error": f"{name} runs already"}
        output = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        try:
            self.pids[name] = os.posix_spawnp(
                command[0],
                command,
                env,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, log, output, 0o644),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setsid=True,
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            )
        except OSError as error:
            return {"error": f"{name}: {error}"}
        self.ended.pop(name, None)
        return {}

    def _signal(self, name: str, number: int) -> dict[str, Any]:
        if name in self.pids:
            os.kill(self.pids[name], number)
        return {}


def answer_one(connection: socket.socket, supervisor: Supervisor) -> None:
    """Carry out the order that comes over a connection; who only asks for our process id sends none."""
    connection.settimeout(ORDER_SECONDS)
    with suppress(OSError), connection.makefile("rwb") as stream:
        if line := stream.readline(ORDER_BYTES):
            stream.write(json.dumps(supervisor.obey(json.loads(line))).encode() + b"\n")


def serve(listener: socket.socket, supervisor: Supervisor) -> None:
    """Take orders and collect children until a signal ends the process."""
    ended, wake = socket.socketpair()
    for end in (ended, wake):
        end.setblocking(False)
    # Children are collected here and not in the handler, which could run while one is being started.
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    supervisor.reap()
    while True:
        ready, _, _ = select.select([listener, ended], [], [])
        if ended in ready:
            ended.recv(4096)
            supervisor.reap()
        if listener in ready:
            connection, _ = listener.accept()
            with connection:
                answer_one(connection, supervisor)


def main() -> None:
    """Make the place and serve; SIGTERM ends the sandbox."""
    spec = Spec(**json.loads(Path(sys.argv[1]).read_text()))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    mount(spec)
    connect(spec)
    # Bound by a relative name: a socket's path may have no more than 107 bytes.
    os.chdir(Path(spec.control).parent)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(Path(spec.control).name)
    listener.listen()
    serve(listener, Supervisor())


if __name__ == "__main__":
    main()
