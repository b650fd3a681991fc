"""The node flavour: a whole cluster whose Pods really run.

Decides the order in which the sandbox and its servers come up and what a scenario may do to them. Needs
Linux and root. There is no DNS server in it: whoever needs the API server in a Pod finds it by the
variables that the kubelet sets.
"""

from __future__ import annotations

import http.client
import re
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2e import audit, binaries, image, processes
from e2e.cluster import Cluster
from e2e.credentials import Authority
from e2e.errors import HarnessError
from e2e.node import config, layout, network, parts, tools
from e2e.node.pods import OperatorPods
from e2e.node.sandbox import Sandbox
from e2e.processes import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from subprocess import CompletedProcess

    from e2e.oci import Image

START_SECONDS = 90.0
RUN_BASE = "/var/tmp"  # noqa: S108  images are big, and this one is never in memory; the name is random


class NodeCluster(Cluster):
    """A one-node cluster in namespaces of its own; any number of them live side by side."""

    flavour = "node"
    has_nodes = True

    def __init__(self, name: str, version: str = "", images: Sequence[Image] | None = None) -> None:
        """Check that this machine can run it and fetch its programs; ``CannotRunError`` if not.

        ``images`` are on the node from the start; by default that of the operator in this tree.
        """
        tools.check()
        self.name = name
        self.binaries = binaries.build(version) if version else binaries.assets()
        self._debs = tools.debs()
        self._images = [tools.pause(), *([image.operator()] if images is None else images)]
        self._ctr = [str(self._debs / "usr/bin/ctr"), "--namespace=k8s.io"]
        self._identities: dict[str, Path] = {}
        self._sandbox: Sandbox | None = None
        self._relay: Process | None = None

    # --- life cycle -----------------------------------------------------------------------------

    def start(self) -> None:
        """Bring up the sandbox and every server; returns when the node is Ready."""
        self.directory = run_directory(self.name)
        self._layout = layout.Layout(self.directory, self.binaries, self._debs)
        self._commands = parts.commands(self._layout, self.audit_log)
        port = processes.free_port()
        self.server = f"https://127.0.0.1:{port}"
        self._issue()
        config.write(self._layout, audit.POLICY)
        self._sandbox = Sandbox(self._layout)
        self._sandbox.start()
        self._relay = self._relayed(port)
        for part in ("etcd", "containerd", "kube-apiserver"):
            self._launch(part)
        # The API server takes longer to start than the images to be taken in.
        for each in self._images:
            self.load(each)
        self._until("kube-apiserver", self._serving)
        for part in ("kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet"):
            self._launch(part)
        self.version = str(self.request("GET", "/version")["gitVersion"]).removeprefix("v")
        self.wait_for(_ready_node, f"/api/v1/nodes/{layout.NODE}", START_SECONDS)
        self.wait_for(bool, "/api/v1/namespaces/default/serviceaccounts/default", START_SECONDS)

    def stop(self) -> None:
        """End every process of the cluster, remove its control groups and its files."""
        self.close_clients()
        if self._relay:
            self._relay.kill()
        if self._sandbox:
            self._sandbox.stop()
        self._relay = self._sandbox = None
        self._identities.clear()
        if "directory" in self.__dict__:
            processes.remove_directory(self.directory)

    def keep(self) -> None:
        """Let the cluster outlive this process; ``python -m e2e.node DIRECTORY`` ends it then."""
        self.sandbox.keep()
        if self._relay:
            processes.release(self._relay)
        processes.tell("u", self.directory)
        self.kept = True

    def stop_apiserver(self) -> None:
        """End the API server: it closes its port at once, then waits in vain for its watchers to leave."""
        self.sandbox.end("kube-apiserver", timeout=2)

    def start_apiserver(self) -> None:
        """Start the API server and wait until it is ready."""
        self._launch("kube-apiserver")
        self._until("kube-apiserver", self._serving)

    def kill_apiserver(self) -> None:
        """End the API server without warning."""
        self.sandbox.end("kube-apiserver", signal.SIGKILL)

    def kill_etcd(self) -> None:
        """End etcd without warning; the API server stays up and answers errors."""
        self.sandbox.end("etcd", signal.SIGKILL)

    def start_etcd(self) -> None:
        """Start etcd on the data it left and wait until the API server is ready again."""
        self._launch("etcd")
        if self.sandbox.alive("kube-apiserver"):
            self._until("kube-apiserver", self._serving)

    def restart_kubelet(self) -> None:
        """End the kubelet and start it again; the Pods go on running meanwhile."""
        self.sandbox.end("kubelet")
        self._launch("kubelet")

    # --- what only a cluster with Pods has --------------------------------------------------------

    @property
    def sandbox(self) -> Sandbox:
        """Return the sandbox of a started cluster."""
        if self._sandbox is None:
            raise HarnessError(f"{self.name}: not started")
        return self._sandbox

    def load(self, wanted: Image) -> None:
        """Put an image onto the node, so that a kubelet finds it under its reference."""
        version = [*self._ctr, "version"]
        self._until("containerd", lambda: self.sandbox.run(version, check=False).returncode == 0)
        self.sandbox.run([*self._ctr, "images", "import", str(wanted.archive)])

    def run_inside(
        self, command: Sequence[str], *, namespaces: Sequence[str] = ("net",), check: bool = True
    ) -> CompletedProcess[str]:
        """Run a program in the cluster's network (and other namespaces), with the files of this machine."""
        return self.sandbox.run(command, namespaces=namespaces, check=check)

    def ask(self, host: str, port: int, path: str, timeout: float = 5.0) -> tuple[int, str]:
        """Send an HTTP GET to an address in the cluster's network; status code and text."""
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
        connection.sock = network.connect(self.sandbox.pid, host, port, timeout)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def signal_container(self, container: str, number: signal.Signals) -> None:
        """Send a signal to the first process of a container, by the runtime's id of it."""
        self.sandbox.run([*self._ctr, "tasks", "kill", f"--signal={number.name}", container])

    def pod_logs(self, namespace: str, pod: str) -> list[str]:
        """Return the lines that the containers of a Pod wrote, as far as the kubelet still keeps them."""
        files = sorted(self._layout.pod_logs.glob(f"{namespace}_{pod}_*/*/*.log"))
        # Each line: time, stream, whether the line is whole, text.
        return [line.split(" ", 3)[3] for file in files for line in file.read_text().splitlines()]

    # --- who calls ------------------------------------------------------------------------------

    def kubeconfig(self, identity: str = "admin") -> Path:
        """Return the kubeconfig of ``admin`` or of a user made by ``identity``."""
        if identity not in self._identities:
            raise HarnessError(f"{self.name}: no identity {identity!r} yet; make it with identity()")
        return self._identities[identity]

    def identity(self, name: str, groups: Iterable[str] = ()) -> Path:
        """Make a client certificate for a user, once, and return its kubeconfig."""
        if name not in self._identities:
            file = f"user-{len(self._identities)}-{re.sub('[^a-z0-9]+', '-', name.lower())}"
            self._identities[name] = self._authority.kubeconfig(file, self.server, name, groups)
        return self._identities[name]

    @property
    def audit_log(self) -> Path:
        """Return the audit log of the API server; it grows over restarts."""
        return self.directory / "audit.log"

    def operator(self, namespace: str = "meshca-system", deployment: str = "meshca") -> OperatorPods:
        """Return the operator as the Pods that the kubelet runs."""
        return OperatorPods(self, namespace, deployment)

    # --- how --------------------------------------------------------------------------------------

    def _issue(self) -> None:
        authority = self._authority = Authority(self._layout.pki, self.name)
        self.ca_file = authority.ca_file
        authority.issue("apiserver", "kube-apiserver", names=parts.SERVER_NAMES)
        authority.issue("apiserver-kubelet", "kube-apiserver-kubelet-client", ["system:masters"])
        authority.issue("kubelet-serving", layout.NODE, names=[layout.NODE, layout.NODE_ADDRESS])
        for part in ("kube-controller-manager", "kube-scheduler", "kube-proxy"):
            authority.kubeconfig(part, parts.SERVER, f"system:{part}")
        authority.kubeconfig("kubelet", parts.SERVER, f"system:node:{layout.NODE}", ["system:nodes"])
        admin = authority.kubeconfig("admin", self.server, "admin", ["system:masters"])
        self._identities["admin"] = admin

    def _relayed(self, port: int) -> Process:
        target = [layout.NODE_ADDRESS, str(layout.SECURE_PORT)]
        command = [sys.executable, "-m", "e2e.node.relay", str(port), str(self.sandbox.pid), *target]
        relay = Process("relay", command, self.directory / "relay.log", env=self._layout.environment)
        relay.start()
        return relay

    def _launch(self, part: str) -> None:
        self.sandbox.launch(part, self._commands[part])

    def _until(self, part: str, ready: Callable[[], bool], timeout: float = START_SECONDS) -> None:
        """Return once ``ready()``; ``HarnessError`` with the log's end if the server dies or takes longer."""
        deadline = time.monotonic() + timeout
        while not ready():
            if not self.sandbox.alive(part) or time.monotonic() > deadline:
                raise HarnessError(f"{part} is not ready\n{self.sandbox.tail(part)}")
            # A program that starts has nothing to watch yet.
            time.sleep(0.05)

    def _serving(self) -> bool:
        """Tell whether the API server is ready and a consistent read, which needs etcd, comes back."""
        try:
            paths = ("/readyz", "/api/v1/namespaces/default")
            return all(self.exchange("GET", path).status == 200 for path in paths)
        except (OSError, http.client.HTTPException):
            return False


def run_directory(name: str) -> Path:
    """Return a new directory for one cluster, removed at the latest with this process."""
    directory = Path(tempfile.mkdtemp(prefix=f"meshca-{name}-", dir=RUN_BASE))
    processes.tell("d", directory)
    # A Pod with a user namespace reaches its volumes as somebody else; the keys have modes of their own.
    directory.chmod(0o711)
    return directory


def _ready_node(nodes: list[dict[str, Any]]) -> bool:
    conditions = [condition for node in nodes for condition in node["status"].get("conditions", [])]
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)
