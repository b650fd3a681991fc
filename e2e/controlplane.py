"""The control-plane flavour: etcd, API server and controller manager as plain processes.

Decides their arguments and the order of their start. Needs no privileges, listens on loopback only;
there is no kubelet, so the operator's processes are started by ``e2e.operator_process``.
"""

from __future__ import annotations

import http.client
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from e2e import audit, binaries, processes
from e2e.cluster import Cluster
from e2e.credentials import Authority
from e2e.errors import HarnessError
from e2e.operator_process import OperatorProcesses
from e2e.processes import Process

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable

START_SECONDS = 90.0
SERVICE_RANGE = "10.96.0.0/16"
SERVER_NAMES = (
    "127.0.0.1",
    "10.96.0.1",
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
# Deployments get their Pods, which no scheduler places: so Pod security admission sees them.
CONTROLLERS = (
    "certificatesigningrequest-signing-controller",
    "clusterrole-aggregation-controller",
    "deployment-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "replicaset-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
)


class ControlPlane(Cluster):
    """A control plane of its own; any number of them live side by side."""

    flavour = "controlplane"

    def __init__(self, name: str, version: str = "") -> None:
        self.name = name
        self.binaries = binaries.build(version) if version else binaries.assets()
        self._identities: dict[str, Path] = {}
        self._processes: dict[str, Process] = {}
        self._operators: list[OperatorProcesses] = []

    # --- life cycle -----------------------------------------------------------------------------

    def start(self) -> None:
        """Bring up etcd, the API server and the controller manager."""
        self.directory = processes.run_directory(self.name)
        self._ports = {part: processes.free_port() for part in ("etcd", "peer", "api", "manager")}
        self._authority = Authority(self.directory / "pki", self.name)
        self.ca_file = self._authority.ca_file
        self.server = f"https://127.0.0.1:{self._ports['api']}"
        self._authority.issue("apiserver", "kube-apiserver", names=SERVER_NAMES)
        admin = self._authority.kubeconfig("admin", self.server, "admin", ["system:masters"])
        self._identities["admin"] = admin
        (self.directory / "audit-policy.yaml").write_text(audit.POLICY)
        for part, arguments in (
            ("etcd", self._etcd()),
            ("kube-apiserver", self._apiserver()),
            ("kube-controller-manager", self._manager()),
        ):
            command = [str(self.binaries / part), *arguments]
            self._processes[part] = Process(part, command, self.directory / f"{part}.log")
        self._processes["etcd"].start()
        self.start_apiserver()
        self._processes["kube-controller-manager"].start()
        self.version = str(self.request("GET", "/version")["gitVersion"]).removeprefix("v")
        # Namespaces are of use once their default account exists, which shows that controllers run.
        self.wait_for(bool, "/api/v1/namespaces/default/serviceaccounts/default", START_SECONDS)

    def stop(self) -> None:
        """End the three processes and remove the run directory."""
        self.close_clients()
        for operator in self._operators:
            operator.stop()
        self._operators.clear()
        for process in reversed(self._processes.values()):
            # Nothing of this cluster is needed any more, so nobody waits for a graceful end.
            process.kill()
        self._processes.clear()
        self._identities.clear()
        if "directory" in self.__dict__:
            processes.remove_directory(self.directory)

    def stop_apiserver(self) -> None:
        """End the API server: it closes its port at once, then waits in vain for its watchers to leave."""
        self._processes["kube-apiserver"].stop(timeout=2)

    def start_apiserver(self) -> None:
        """Start the API server and wait until it is ready, RBAC roles included."""
        process = self._processes["kube-apiserver"]
        process.start()
        process.wait_until(self._ready, START_SECONDS)

    def kill_apiserver(self) -> None:
        """End the API server without warning."""
        self._processes["kube-apiserver"].kill()

    def kill_etcd(self) -> None:
        """End etcd without warning; the API server stays up and answers errors."""
        self._processes["etcd"].kill()

    def signal_etcd(self, number: signal.Signals) -> None:
        """Send a signal to etcd, for instance SIGSTOP, which makes it hang until SIGCONT."""
        self._processes["etcd"].send(number)

    def start_etcd(self) -> None:
        """Start etcd on the data it left and wait until the API server is ready again."""
        self._processes["etcd"].start()
        api = self._processes["kube-apiserver"]
        if api.alive:
            api.wait_until(self._serving, START_SECONDS)

    def keep(self) -> None:
        """Let the servers and the operator's processes outlive us; see ``how_to_end``."""
        operators = [process for each in self._operators for process in each.keep()]
        processes.keep(self.directory, [*self._processes.values(), *operators])
        self.kept = True

    def _ready(self) -> bool:
        try:
            return self.exchange("GET", "/readyz").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def _serving(self) -> bool:
        """Tell whether a consistent read, which etcd itself must answer, comes back."""
        try:
            return self._ready() and self.exchange("GET", "/api/v1/namespaces/default").status == 200
        except (OSError, http.client.HTTPException):
            return False

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

    @property
    def etcd(self) -> str:
        """Return the URL of etcd, for tests that shorten its history."""
        return f"http://127.0.0.1:{self._ports['etcd']}"

    def pids(self) -> dict[str, int]:
        """Return the process ids of the servers by name, for measurements."""
        return {name: process.pid for name, process in self._processes.items() if process.alive}

    def operator(self, namespace: str = "meshca-system", deployment: str = "meshca") -> OperatorProcesses:
        """Return the operator as processes of this machine."""
        made = OperatorProcesses(self, namespace, deployment)
        self._operators.append(made)
        return made

    # --- arguments ------------------------------------------------------------------------------

    def _etcd(self) -> list[str]:
        client, peer = (f"http://127.0.0.1:{self._ports[part]}" for part in ("etcd", "peer"))
        return [
            f"--data-dir={self.directory}/etcd",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def _apiserver(self) -> list[str]:
        pki = self._authority.directory
        return [
            f"--etcd-servers=http://127.0.0.1:{self._ports['etcd']}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self._ports['api']}",
            # A loopback address may not stand in the endpoints of the kubernetes Service.
            "--endpoint-reconciler-type=none",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--client-ca-file={self.ca_file}",
            "--authorization-mode=RBAC",
            "--enable-priority-and-fairness=true",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki}/sa.pub",
            f"--service-account-signing-key-file={pki}/sa.key",
            f"--audit-policy-file={self.directory}/audit-policy.yaml",
            f"--audit-log-path={self.audit_log}",
            # One file for the whole life: rotation would hide writes from whoever counts them.
            "--audit-log-maxsize=100000",
            "--audit-log-mode=blocking",
        ]

    def _manager(self) -> list[str]:
        pki = self._authority.directory
        config = self._authority.kubeconfig(
            "controller-manager", self.server, "system:kube-controller-manager"
        )
        return [
            f"--kubeconfig={config}",
            f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._ports['manager']}",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--service-account-private-key-file={pki}/sa.key",
            f"--root-ca-file={self.ca_file}",
            f"--cluster-signing-cert-file={self.ca_file}",
            f"--cluster-signing-key-file={self._authority.ca_key_file}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            f"--controllers={','.join(CONTROLLERS)}",
        ]


if __name__ == "__main__":
    if len(sys.argv) != 2 or not processes.is_kept(Path(sys.argv[1])):
        sys.exit("usage: python -m e2e.controlplane DIRECTORY (the run directory of a kept cluster)")
    processes.end_kept(Path(sys.argv[1]))
