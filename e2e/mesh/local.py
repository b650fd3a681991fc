"""The two workloads as processes of this machine, with volumes written as a kubelet writes them.

Decides how they are started; each side's volumes can be held back or filled with something else.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from e2e import envoy, processes, scenario
from e2e.client import path_of
from e2e.mesh import proxy
from e2e.mesh.pair import CLIENT, SECONDS, SERVER, Pair, Side
from e2e.mesh.volume import Projector
from e2e.processes import Process
from meshca.api import names

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

JSON = dict[str, Any]
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class LocalSide(Side):
    """A workload on this machine, with its two volumes."""

    leaf: Projector
    roots: Projector
    place: Path

    @property
    def files(self) -> proxy.Files:
        """Return where Envoy finds its files."""
        return proxy.Files(self.leaf.volume.directory, self.roots.volume.directory, self.place)


class LocalPair(Pair[LocalSide]):
    """Client and server side as processes."""

    where = "between two processes of this machine"

    def wait_complaint(self, text: str) -> None:
        """Return once the server side's Envoy gave a reason that contains ``text``."""
        said = self._running[SERVER].wait_until
        said(lambda: any(text in line for line in self.complaints()), SECONDS)

    def _start(self, stack: ExitStack) -> None:
        self._running: dict[str, Process] = {}
        directory = processes.run_directory("mesh")
        stack.callback(processes.remove_directory, directory)
        self.client, self.server = (self._side(stack, directory / name) for name in (CLIENT, SERVER))
        client, server, upstream = self.client, self.server, (HOST, self.server.port)
        serve = proxy.server((HOST, server.port), (HOST, server.admin), server.files, self.identity(CLIENT))
        call = proxy.client(
            (HOST, client.port), (HOST, client.admin), client.files, self.identity(SERVER), upstream
        )
        for side, bootstrap in ((server, serve), (client, call)):
            self._launch(stack, side, bootstrap)

    def _side(self, stack: ExitStack, directory: Path) -> LocalSide:
        secret = scenario.secret_path(f"{directory.name}-tls", self.namespace)
        bundle = path_of(names.CONFIG_MAP, self.namespace, self.bundle)
        home = self.homes[directory.name]
        leaf = stack.enter_context(Projector(home, secret, directory / "leaf"))
        roots = stack.enter_context(Projector(home, bundle, directory / "roots"))
        own = directory / "own"
        own.mkdir()
        return LocalSide(directory.name, HOST, processes.free_port(), processes.free_port(), leaf, roots, own)

    def _launch(self, stack: ExitStack, side: LocalSide, bootstrap: JSON) -> None:
        for name, text in proxy.config_files(bootstrap, side.files).items():
            (side.place / name).write_text(text)
        process = Process(
            f"envoy {side.name}", proxy.command(envoy.install(), side.place), side.place / "log"
        )
        self._running[side.name] = process
        process.start()
        stack.callback(process.stop)
        process.wait_until(lambda: self.ready(side), SECONDS)

    def _reach(self, side: Side, port: int) -> socket.socket:
        return socket.create_connection((side.host, port), SECONDS)

    def _log(self, name: str) -> list[str]:
        return self._running[name].log.read_text(errors="replace").splitlines()
