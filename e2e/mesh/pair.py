"""Two workloads of one CA that talk through Envoys: what is the same wherever the Envoys run.

Decides what each of the two is given (an account, a managed leaf, the trust bundle) and when their
traffic counts as flawless. Never decides what happens to the CA.
"""

from __future__ import annotations

import http.client
import json
from abc import ABC, abstractmethod
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar
from urllib.parse import urlencode

from cryptography import x509

from e2e import polling, workload
from e2e.client import path_of
from e2e.errors import ApiError
from e2e.mesh.traffic import Stream, plain
from meshca.api import names

if TYPE_CHECKING:
    import socket
    from types import TracebackType

    from e2e.cluster import Cluster

JSON = dict[str, Any]
CLIENT, SERVER = "front", "back"
SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Side:
    """One workload: where its Envoy listens, and where it answers questions about itself."""

    name: str
    host: str
    port: int
    admin: int


S = TypeVar("S", bound=Side)


class Pair(ABC, Generic[S]):
    """Client and server side of a CA with live Envoys; a context manager.

    ``authority`` is a Ready CAConfiguration; the namespace exists. With ``server_cluster`` the server's side
    is at home there, under a CAConfiguration and a bundle of the same names.
    """

    where: str
    """Says to a person where the two run."""
    client: S
    server: S

    def __init__(
        self, cluster: Cluster, namespace: str, authority: JSON, *, server_cluster: Cluster | None = None
    ) -> None:
        self.cluster = cluster
        self.homes = {CLIENT: cluster, SERVER: server_cluster or cluster}
        self.namespace = namespace
        self.authority = str(authority["metadata"]["name"])
        self.bundle = str(authority["spec"]["trustBundle"]["configMapName"])
        self._domain = str(authority["status"]["trustDomain"])
        self._stack = ExitStack()

    @abstractmethod
    def _start(self, stack: ExitStack) -> None:
        """Start both Envoys and set ``client`` and ``server``; ``stack`` ends what was started."""

    @abstractmethod
    def _reach(self, side: Side, port: int) -> socket.socket:
        """Open a TCP connection to a port of a side."""

    @abstractmethod
    def _log(self, name: str) -> list[str]:
        """Return what the Envoy of a side has printed."""

    def __enter__(self) -> Self:
        """Ask for both leaves and start both Envoys; returns when they serve."""
        with ExitStack() as stack:
            for name in (CLIENT, SERVER):
                self._request_leaf(name)
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def sides(self) -> tuple[S, S]:
        """Return client and server side."""
        return self.client, self.server

    def identity(self, name: str) -> str:
        """Return the SPIFFE ID of a side."""
        return f"spiffe://{self._domain}/ns/{self.namespace}/sa/{name}"

    def stream(self, rate: float = 80.0) -> Stream:
        """Return a stream of requests from client to server side, so many a second; not begun."""
        known = (self.identity(CLIENT), self.identity(SERVER))
        return Stream(lambda: self._reach(self.client, self.client.port), known, rate=rate)

    def serial(self, name: str) -> str:
        """Return the serial number of the leaf that was issued last to a side."""
        found = self.homes[name].request("GET", workload.path(self.namespace, name))
        return plain(found["status"]["serialNumber"])

    def wait_moved(self, stream: Stream, timeout: float = SECONDS) -> None:
        """Return once the leaves that were issued last have met in a handshake; seconds."""
        last = (self.serial(CLIENT), self.serial(SERVER))
        stream.wait_meeting(lambda seen: (seen.client, seen.server) == last, timeout)

    def wait_trust(self, root: str, timeout: float = SECONDS) -> None:
        """Return once both Envoys trust this root (PEM) and no other; asks them again and again; seconds."""
        wanted = {f"{x509.load_pem_x509_certificate(root.encode()).serial_number:x}"}

        def trusted() -> dict[str, set[str]]:
            return {side.name: self._trusted(side) for side in self.sides}

        # An Envoy tells nobody that it has taken up other roots, so there is nothing to watch.
        polling.until(
            lambda: all(found == wanted for found in trusted().values()),
            lambda: f"they trust {trusted()}, not {wanted} alone",
            timeout=timeout,
            every=0.1,
        )

    def complaints(self) -> list[str]:
        """Return what the server side's Envoy said of handshakes that failed, each reason once.

        It says so a moment later than it happens.
        """
        told = [line for line in self._log(SERVER) if line.startswith("refused: ") and line != "refused: -"]
        return list(dict.fromkeys(told))

    def assert_no_failure(self, stream: Stream) -> None:
        """Fail with all that is known if any handshake of a stream, which must be over, did."""
        assert stream.failed == 0, "\n".join([str(stream), *self.complaints()])
        found = {
            CLIENT: self._counters(self.client, "cluster."),
            SERVER: self._counters(self.server, "listener."),
        }
        for name, counters in found.items():
            # Both Envoys must agree that every handshake was whole: none shortened, none failed.
            assert counters.pop("ssl.handshake") == stream.ok, f"{name}: {counters}"
            wrong = {key for key in counters if "reused" in key or "fail" in key or "error" in key}
            assert not wrong, f"{name}: {counters}"

    def ask(self, side: Side, path: str) -> tuple[int, str]:
        """Ask the Envoy of a side about itself; status code and text."""
        connection = http.client.HTTPConnection(side.host, side.admin, timeout=SECONDS)
        connection.sock = self._reach(side, side.admin)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def ready(self, side: Side) -> bool:
        """Tell whether the Envoy of a side has all that it needs and serves."""
        try:
            return self.ask(side, "/ready")[0] == 200
        except OSError:
            return False

    def _trusted(self, side: Side) -> set[str]:
        """Return the serial numbers of the roots that the Envoy of a side trusts now."""
        found = json.loads(self.ask(side, "/certs")[1])["certificates"]
        return {plain(entry["serial_number"]) for context in found for entry in context.get("ca_cert", ())}

    def _counters(self, side: Side, scope: str) -> dict[str, int]:
        """Return the TLS counters of a side that are not 0, by the last parts of their names."""
        query = urlencode({"format": "json", "usedonly": "", "filter": rf"^{scope}.*\.ssl\."})
        found = json.loads(self.ask(side, f"/stats?{query}")[1])["stats"]
        return {
            "ssl." + entry["name"].partition(".ssl.")[2]: entry["value"]
            for entry in found
            if "value" in entry
        }

    def _request_leaf(self, name: str) -> None:
        """Make an account and its managed leaf unless they are there, wait until it is issued."""
        spec = {"caConfigurationName": self.authority, "secretName": f"{name}-tls"}
        body = workload.leaf(self.namespace, name, account=name, **spec)
        accounts = path_of(names.SERVICE_ACCOUNT, self.namespace)
        for where, wanted in (
            (accounts, {"metadata": {"name": name}}),
            (workload.path(self.namespace), body),
        ):
            try:
                self.homes[name].request("POST", where, wanted)
            except ApiError as error:
                if error.status != 409:
                    raise
        workload.wait_reason(self.homes[name], self.namespace, name, "Issued")
