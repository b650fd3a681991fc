"""Two workloads of one CA that talk through Envoys, as processes of this machine.

Decides how the two are started and what each is given: an account, a managed leaf in a volume, the trust
bundle in another. Never decides what happens to the CA.
"""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from e2e import processes, scenario, workload
from e2e.client import path_of
from e2e.mesh import proxy
from e2e.mesh.traffic import Stream, plain
from e2e.mesh.volume import Projector
from e2e.processes import Process
from meshca.api import names

if TYPE_CHECKING:
    from types import TracebackType

    from e2e.cluster import Cluster

JSON = dict[str, Any]
HOST = "127.0.0.1"
CLIENT, SERVER = "front", "back"
SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Side:
    """One workload: its volumes, its Envoy and the ports of that."""

    name: str
    leaf: Projector
    roots: Projector
    files: proxy.Files
    port: int
    admin: int

    def stats(self) -> dict[str, int]:
        """Return what its Envoy counted, without counters that are 0."""
        connection = http.client.HTTPConnection(HOST, self.admin, timeout=SECONDS)
        connection.request("GET", "/stats?format=json&usedonly")
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return {entry["name"]: entry["value"] for entry in answer["stats"] if "value" in entry}


class Pair:
    """Client and server side of a Ready CAConfiguration (``authority``) with live Envoys; a context manager.

    ``envoy`` is the program.
    """

    def __init__(self, cluster: Cluster, namespace: str, authority: JSON, envoy: Path) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.authority = str(authority["metadata"]["name"])
        self._domain = str(authority["status"]["trustDomain"])
        self._bundle = str(authority["spec"]["trustBundle"]["configMapName"])
        self._envoy = envoy
        self._stack = ExitStack()
        self._running: dict[str, Process] = {}

    def __enter__(self) -> Self:
        """Ask for both leaves, fill the volumes, start both Envoys; returns when they serve."""
        with ExitStack() as stack:
            directory = processes.run_directory("mesh")
            stack.callback(processes.remove_directory, directory)
            for name in (CLIENT, SERVER):
                self.request_leaf(name)
            self.client, self.server = (self._side(stack, directory, name) for name in (CLIENT, SERVER))
            self._launch(stack, self.server, self._server_bootstrap())
            self._launch(stack, self.client, self._client_bootstrap())
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def sides(self) -> tuple[Side, Side]:
        """Return client and server side."""
        return self.client, self.server

    def identity(self, name: str) -> str:
        """Return the SPIFFE ID of a side."""
        return f"spiffe://{self._domain}/ns/{self.namespace}/sa/{name}"

    def stream(self, rate: float = 80.0) -> Stream:
        """Return a stream of requests from client to server side; not begun."""
        return Stream(
            lambda: socket.create_connection((HOST, self.client.port), SECONDS),
            (self.identity(CLIENT), self.identity(SERVER)),
            rate=rate,
        )

    def request_leaf(self, name: str) -> None:
        """Make an account and its managed leaf, wait until it is issued."""
        accounts = path_of(names.SERVICE_ACCOUNT, self.namespace)
        self.cluster.request("POST", accounts, {"metadata": {"name": name}})
        spec = {"caConfigurationName": self.authority, "secretName": f"{name}-tls"}
        workload.create(self.cluster, workload.leaf(self.namespace, name, account=name, **spec))
        workload.wait_reason(self.cluster, self.namespace, name, "Issued")

    def serial(self, name: str) -> str:
        """Return the serial number of the leaf that was issued last to a side."""
        found = self.cluster.request("GET", workload.path(self.namespace, name))
        return plain(found["status"]["serialNumber"])

    def complaints(self) -> list[str]:
        """Return what the server side's Envoy said of handshakes that failed, each reason once.

        It says so a moment later than it happens.
        """
        said = self._running[SERVER].log.read_text(errors="replace").splitlines()
        told = [line for line in said if line.startswith("refused: ") and line != "refused: -"]
        return list(dict.fromkeys(told))

    def wait_complaint(self, text: str) -> None:
        """Return once the server side's Envoy gave a reason that contains ``text``."""
        process = self._running[SERVER]
        process.wait_until(lambda: any(text in line for line in self.complaints()), SECONDS)

    def assert_no_failure(self, stream: Stream) -> None:
        """Fail with all that is known if any handshake of a stream, which must be over, did."""
        assert stream.failed == 0, "\n".join([str(stream), *self.complaints()])
        self._assert_whole_handshakes(stream.ok)

    def _assert_whole_handshakes(self, number: int) -> None:
        """Fail unless both Envoys counted that many handshakes, none of them shortened or failed."""
        for side, prefix in (
            (self.client, "cluster.peer."),
            (self.server, f"listener.{HOST}_{self.server.port}."),
        ):
            found = {
                key.removeprefix(prefix): value
                for key, value in side.stats().items()
                if key.startswith(prefix)
            }
            assert found["ssl.handshake"] == number, f"{side.name}: {found}"
            wrong = {
                key
                for key in found
                if "session_reused" in key or "fail" in key or key == "ssl.connection_error"
            }
            assert not wrong, f"{side.name}: {found}"

    def _side(self, stack: ExitStack, directory: Path, name: str) -> Side:
        place = directory / name
        files = proxy.Files(place / "leaf", place / "roots", place / "own")
        secret = scenario.secret_path(f"{name}-tls", self.namespace)
        bundle = path_of(names.CONFIG_MAP, self.namespace, self._bundle)
        leaf = stack.enter_context(Projector(self.cluster, secret, place / "leaf"))
        roots = stack.enter_context(Projector(self.cluster, bundle, place / "roots"))
        (place / "own").mkdir()
        return Side(name, leaf, roots, files, processes.free_port(), processes.free_port())

    def _server_bootstrap(self) -> JSON:
        side = self.server
        return proxy.server((HOST, side.port), (HOST, side.admin), side.files, self.identity(CLIENT))

    def _client_bootstrap(self) -> JSON:
        side, upstream = self.client, (HOST, self.server.port)
        return proxy.client(
            (HOST, side.port), (HOST, side.admin), side.files, self.identity(SERVER), upstream
        )

    def _launch(self, stack: ExitStack, side: Side, bootstrap: JSON) -> None:
        own = Path(side.files.own)
        for name, text in proxy.config_files(bootstrap, side.files).items():
            (own / name).write_text(text)
        process = Process(f"envoy {side.name}", proxy.command(self._envoy, own), own / "log")
        self._running[side.name] = process
        process.start()
        stack.callback(process.stop)
        process.wait_until(lambda: _ready(side), SECONDS)


def _ready(side: Side) -> bool:
    """Tell whether an Envoy has all its secrets and serves."""
    connection = http.client.HTTPConnection(HOST, side.admin, timeout=SECONDS)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
