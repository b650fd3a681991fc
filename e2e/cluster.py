"""The one interface behind which every cluster flavour stands.

Decides what a scenario may ask of a cluster and does the part that is the same everywhere (clients,
kubectl, helm, tokens, waiting). Never decides how a flavour starts its servers.

A flavour sets the attributes of ``Cluster`` in ``__init__`` or ``start`` and implements the abstract
methods. Where the API server lives in another network namespace it also overrides ``prefix`` (put
before each command) and ``dial`` (opens the TCP connections of ``Client``).
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import yaml

from e2e import audit, tools
from e2e.client import Client, Response
from e2e.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from e2e.audit import AuditEvent

JSON = dict[str, Any]
T = TypeVar("T")
Completed = subprocess.CompletedProcess[str]

COMMAND_TIMEOUT = 300.0
"""Seconds after which kubectl or helm is taken for hung."""


class Operator(Protocol):
    """The installed operator, whichever way its replicas run (processes or Pods)."""

    def start(self) -> None:
        """Bring up as many replicas as the Deployment says (a no-op where a kubelet does it)."""
        ...

    def stop(self) -> None:
        """End every replica cleanly."""
        ...

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Return once every replica passes the Deployment's readiness probe; seconds."""
        ...

    @property
    def replicas(self) -> Sequence[str]:
        """Return the names of the replicas that run now."""
        ...

    def kill(self, replica: str) -> None:
        """End one replica without warning (SIGKILL)."""
        ...

    def restart(self, replica: str) -> None:
        """End one replica cleanly if it runs, and start it anew."""
        ...

    def logs(self, replica: str) -> list[JSON]:
        """Return the log lines of one replica since it was first started, parsed."""
        ...

    def get(self, replica: str, path: str) -> tuple[int, str]:
        """Ask the replica's HTTP server for ``path``; status code and text."""
        ...


class Cluster(ABC):
    """One Kubernetes cluster of its own; a context manager that starts and stops it."""

    flavour: str
    """controlplane, node, kind or kubeconfig."""
    has_nodes: bool = False
    """Whether Pods really start."""
    has_audit: bool = True
    """Whether ``audit`` works."""
    controls_servers: bool = True
    """Whether the API server and etcd can be stopped, killed and started again."""
    issues_identities: bool = True
    """Whether ``identity`` can make client certificates for human users."""

    kept: bool = False
    """Whether it outlives this process (``keep``); leaving the context then ends nothing."""

    name: str
    version: str
    """Kubernetes version without the v, e.g. 1.37.2."""
    directory: Path
    """Run directory of this cluster: logs, credentials, data; gone after ``stop``."""
    binaries: Path
    """Directory that holds kubectl and helm (version 4)."""
    server: str
    """https://host:port, known once started; the same after a restart of the API server."""
    ca_file: Path
    """PEM of the CA that signed the API server's serving certificate."""

    # --- what each flavour does its own way -----------------------------------------------------

    @abstractmethod
    def start(self) -> None:
        """Bring the cluster up; returns when the API server is ready and (if any) the node is Ready."""

    @abstractmethod
    def stop(self) -> None:
        """End everything that ``start`` began and remove ``directory``; harmless when repeated."""

    @abstractmethod
    def stop_apiserver(self) -> None:
        """End the API server alone, cleanly."""

    @abstractmethod
    def start_apiserver(self) -> None:
        """Start it again at the same address; returns when it is ready."""

    @abstractmethod
    def kill_etcd(self) -> None:
        """End etcd without warning (SIGKILL)."""

    @abstractmethod
    def start_etcd(self) -> None:
        """Start etcd again on the same data; returns when the API server is ready again."""

    @abstractmethod
    def kubeconfig(self, identity: str = "admin") -> Path:
        """Return the kubeconfig file of an identity that exists: ``admin`` or one made by ``identity``."""

    @abstractmethod
    def identity(self, name: str, groups: Iterable[str] = ()) -> Path:
        """Make a client certificate for the user ``name`` (once) and return its kubeconfig file."""

    @property
    @abstractmethod
    def audit_log(self) -> Path:
        """Return the file that the API server writes its audit events to."""

    @abstractmethod
    def operator(self, namespace: str = "meshca-system", deployment: str = "meshca") -> Operator:
        """Return a handle to the operator that Helm installed; starts nothing."""

    def keep(self) -> None:
        """Let the cluster, and an operator that runs as processes, outlive this process (``KEEP=1``)."""
        raise HarnessError(f"{self.flavour}: cannot be kept")

    @property
    def how_to_end(self) -> str:
        """Return the command that ends a kept cluster."""
        module = "e2e.node" if self.has_nodes else "e2e.controlplane"
        return f"{sys.executable} -m {module} {self.directory}"

    # --- the same everywhere --------------------------------------------------------------------

    @property
    def chart_values(self) -> dict[str, str]:
        """Return the chart values that the flavour needs (``helm install --set``), such as its image."""
        return {}

    @property
    def prefix(self) -> tuple[str, ...]:
        """Return what is put before every command that must reach the API server."""
        return ()

    def dial(self, host: str, port: int, timeout: float) -> socket.socket:
        """Open a TCP connection to an address of the cluster; ``timeout`` in seconds."""
        return socket.create_connection((host, port), timeout)

    def restart_apiserver(self) -> None:
        """Stop the API server and start it again."""
        self.stop_apiserver()
        self.start_apiserver()

    def audit(self, since: int = 0) -> list[AuditEvent]:
        """Return every write answered so far that came after ``since`` (``audit_mark``)."""
        audit.settle(self.client(), lambda: self.audit_log)
        return audit.since(self.audit_log, since)

    def audit_mark(self) -> int:
        """Return the place in the audit log where what comes from now on begins, in bytes."""
        return audit.settle(self.client(), lambda: self.audit_log)

    def client(self, identity: str = "admin", *, token: str = "") -> Client:
        """Return a JSON client for an identity, or for a bearer token (then without a certificate)."""
        clients: dict[str, Client] = self.__dict__.setdefault("_clients", {})
        key = f"token {token}" if token else identity
        if key not in clients:
            made = (
                Client(self.server, self.ca_file, token=token, dial=self.dial)
                if token
                else Client.from_kubeconfig(self.kubeconfig(identity), dial=self.dial)
            )
            # Of threads that come at once each makes one; connections of all but one nobody would close.
            clients.setdefault(key, made)
        return clients[key]

    def refusals(self) -> set[str]:
        """Return every text by which the API server refused a call of the harness, whoever made it."""
        clients: dict[str, Client] = self.__dict__.get("_clients", {})
        return set().union(*(client.refusals for client in list(clients.values())))

    def close_clients(self) -> None:
        """Close every connection that ``client`` made; each flavour's ``stop`` begins with it."""
        clients: dict[str, Client] = self.__dict__.pop("_clients", {})
        for client in clients.values():
            client.close()

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        identity: str = "admin",
        query: Mapping[str, str] | None = None,
        content_type: str = "",
    ) -> JSON:
        """Call the API server and return the answer; ``ApiError`` on 4xx and 5xx."""
        return self.client(identity).request(method, path, body, query=query, content_type=content_type)

    def exchange(self, method: str, path: str, body: Any = None, *, identity: str = "admin") -> Response:
        """Call the API server and return status, headers and body whatever the status."""
        return self.client(identity).exchange(method, path, body)

    def wait_for(
        self,
        predicate: Callable[[list[JSON]], T | None],
        path: str,
        timeout: float = 60.0,
        *,
        identity: str = "admin",
    ) -> T:
        """Watch a collection or one object until ``predicate(objects)`` is truthy and return its value.

        ``path`` is a collection (``/api/v1/namespaces``) or an object of one; ``predicate`` gets the
        list of the objects that exist. ``TimeoutError`` after ``timeout`` seconds.
        """
        return self.client(identity).wait_for(predicate, path, timeout)

    def wait(
        self, path: str, condition: str = "Ready", *, status: str = "True", timeout: float = 60.0
    ) -> JSON:
        """Watch one object until its condition has ``status`` and return the object."""

        def met(objects: list[JSON]) -> JSON | None:
            for item in objects:
                for entry in item.get("status", {}).get("conditions") or []:
                    if entry["type"] == condition and entry["status"] == status:
                        return item
            return None

        return self.wait_for(met, path, timeout)

    def command(
        self,
        *args: str,
        identity: str = "admin",
        input: str | None = None,  # noqa: A002  the name subprocess gives it
        check: bool = True,
        timeout: float = COMMAND_TIMEOUT,
    ) -> Completed:
        """Run a program with KUBECONFIG of ``identity`` in the cluster's network; seconds."""
        environment = {
            "PATH": f"{self.binaries}:{os.environ.get('PATH', os.defpath)}",
            "HOME": str(self.directory),
            "KUBECONFIG": str(self.kubeconfig(identity)),
        }
        done = subprocess.run(
            [*self.prefix, *args],
            input=input,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise HarnessError(f"{' '.join(args)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def kubectl(
        self,
        *args: str,
        identity: str = "admin",
        input: str | None = None,  # noqa: A002  the name subprocess gives it
        check: bool = True,
    ) -> Completed:
        """Run kubectl as ``identity``; ``HarnessError`` with its output when it fails and ``check``."""
        return self.command(
            str(self.binaries / "kubectl"), *args, identity=identity, input=input, check=check
        )

    def helm(self, *args: str, version: int = 4, check: bool = True) -> Completed:
        """Run Helm 4, or Helm 3, as the administrator."""
        program = self.binaries / "helm" if version == 4 else tools.helm3()
        return self.command(str(program), *args, check=check)

    def apply(self, manifest: str | JSON | Iterable[JSON], *, identity: str = "admin") -> Completed:
        """Run ``kubectl apply --server-side`` on YAML text or objects."""
        if isinstance(manifest, str):
            text = manifest
        else:
            text = yaml.safe_dump_all([manifest] if isinstance(manifest, dict) else manifest)
        return self.kubectl("apply", "--server-side", "-f", "-", identity=identity, input=text)

    def token(
        self,
        namespace: str,
        serviceaccount: str,
        audience: str | None = None,
        seconds: int = 3600,
        *,
        anchor: str = "",
    ) -> str:
        """Return a ServiceAccount's token by TokenRequest; ``seconds`` is at least 600.

        With ``anchor``, a Secret of that namespace, it is void once the Secret is gone.
        """
        spec: JSON = {"expirationSeconds": seconds}
        if audience:
            spec["audiences"] = [audience]
        if anchor:
            spec["boundObjectRef"] = {"kind": "Secret", "apiVersion": "v1", "name": anchor}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{serviceaccount}/token"
        answer = self.request("POST", path, {"spec": spec})
        return str(answer["status"]["token"])

    def __enter__(self) -> Self:
        """Start the cluster; whatever a failed start left is ended."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.kept:
            self.stop()
