"""The kind flavour: a cluster in Docker containers, made by kind.

Decides the commands and the cluster's configuration; without Docker or kind it says so and stops. The
servers are static Pods, so they are stopped by taking their manifests away from the kubelet.
"""

from __future__ import annotations

import http.client
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import meshca
from e2e import audit, processes
from e2e.errors import CannotRunError, HarnessError
from e2e.existing import Existing, image_values, run

if TYPE_CHECKING:
    from e2e.existing import Runner

START_SECONDS = 120.0
ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / ".ci" / "Dockerfile"
IMAGE = f"meshca/operator:{meshca.__version__}"
SHARED = "/meshca"
"""Where the run directory's ``kind`` folder appears inside the node."""
MANIFESTS = "/etc/kubernetes/manifests"


class KindCluster(Existing):
    """A cluster of one kind node, with the operator's image built and loaded."""

    flavour = "kind"
    has_audit = True
    controls_servers = True

    def __init__(self, name: str, runner: Runner = run) -> None:
        super().__init__(name, runner)
        check(runner)
        self._kind = f"meshca-{name}-{os.getpid()}"
        self._node = f"{self._kind}-control-plane"
        self._made = False

    def start(self) -> None:
        """Create the cluster, build the image and load it onto the node."""
        self.directory = processes.run_directory(self.name)
        config = self.directory / "kind.yaml"
        shared = self.directory / "kind"
        (shared / "patches").mkdir(parents=True)
        (shared / "audit").mkdir()
        (shared / "audit-policy.yaml").write_text(audit.POLICY)
        (shared / "patches" / "kube-apiserver0+json.yaml").write_text(yaml.safe_dump(apiserver_patch()))
        config.write_text(yaml.safe_dump(configuration(shared)))
        self._made = True
        self.run(["kind", "create", "cluster", *self._named(), *self._wanted(), f"--config={config}"])
        self.adopt(self.run(["kind", "get", "kubeconfig", *self._named()]))
        self.run(["docker", "build", f"--file={DOCKERFILE}", f"--tag={IMAGE}", str(ROOT)])
        self.run(["kind", "load", "docker-image", IMAGE, *self._named()])

    def stop(self) -> None:
        """Delete the cluster and the run directory."""
        if self._made:
            self.run(["kind", "delete", "cluster", *self._named()])
            self._made = False
        super().stop()

    def stop_apiserver(self) -> None:
        """Take the API server's manifest away and end its container."""
        self._take("kube-apiserver", grace=2)

    def start_apiserver(self) -> None:
        """Put the manifest back and wait until the API server is ready."""
        self._give("kube-apiserver")

    def kill_etcd(self) -> None:
        """Take etcd's manifest away and kill its container."""
        self._take("etcd", grace=0)

    def start_etcd(self) -> None:
        """Put etcd's manifest back and wait until the API server is ready."""
        self._give("etcd")

    @property
    def audit_log(self) -> Path:
        """Return a fresh copy of the audit log, which only root may read on the node."""
        copy = self.directory / "audit.log"
        copy.write_text(self._inside("cat", f"{SHARED}/audit/audit.log"))
        return copy

    @property
    def chart_values(self) -> dict[str, str]:
        """Return the image that was loaded, which no registry has."""
        return {**image_values(IMAGE), "image.pullPolicy": "Never"}

    def _named(self) -> list[str]:
        return [f"--name={self._kind}"]

    def _wanted(self) -> list[str]:
        wanted = os.environ.get("K8S", "").removeprefix("v")
        return [f"--image=kindest/node:v{wanted}"] if wanted else []

    def _inside(self, *command: str) -> str:
        return self.run(["docker", "exec", self._node, *command])

    def _take(self, part: str, grace: int) -> None:
        self._inside("mv", f"{MANIFESTS}/{part}.yaml", f"/etc/kubernetes/{part}.yaml")
        for container in self._inside("crictl", "ps", "--quiet", "--name", f"^{part}$").split():
            self._inside("crictl", "stop", f"--timeout={grace}", container)

    def _give(self, part: str) -> None:
        self._inside("mv", f"/etc/kubernetes/{part}.yaml", f"{MANIFESTS}/{part}.yaml")
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if time.monotonic() > deadline:
                raise HarnessError(f"{self.name}: not ready {START_SECONDS:g} s after {part} was put back")
            # A server that starts has nothing to watch yet.
            time.sleep(0.2)

    def _ready(self) -> bool:
        try:
            paths = ("/readyz", "/api/v1/namespaces/default")
            return all(self.exchange("GET", path).status == 200 for path in paths)
        except (OSError, http.client.HTTPException):
            return False


def check(runner: Runner) -> None:
    """Tell, by ``CannotRunError``, why kind cannot run here: no kind, no docker, no engine behind it."""
    for command in (["kind", "version"], ["docker", "info", "--format={{json .ServerVersion}}"]):
        try:
            said = runner(command)
        except HarnessError as error:
            raise CannotRunError(str(error).splitlines()[0]) from None
    if not json.loads(said or '""'):
        raise CannotRunError("docker reaches no engine that runs")


def configuration(shared: Path) -> dict[str, Any]:
    """Return kind's configuration: one node that sees ``shared`` and patches the API server from it."""
    initial = {"kind": "InitConfiguration", "patches": {"directory": f"{SHARED}/patches"}}
    return {
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "kind": "Cluster",
        "networking": {"apiServerAddress": "127.0.0.1"},
        "nodes": [
            {
                "role": "control-plane",
                "extraMounts": [{"hostPath": str(shared), "containerPath": SHARED}],
                "kubeadmConfigPatches": [yaml.safe_dump(initial)],
            }
        ],
    }


def apiserver_patch() -> list[dict[str, Any]]:
    """Return the JSON patch that gives the API server's static Pod its audit log.

    A patch of the Pod is the same for every version of kubeadm's configuration, unlike extra arguments.
    """
    container = "/spec/containers/0"
    arguments = (
        f"--audit-policy-file={SHARED}/audit-policy.yaml",
        f"--audit-log-path={SHARED}/audit/audit.log",
        "--audit-log-maxsize=100000",
    )
    volume = {"name": "meshca", "hostPath": {"path": SHARED, "type": "Directory"}}
    mount = {"name": "meshca", "mountPath": SHARED}
    return [
        *({"op": "add", "path": f"{container}/command/-", "value": each} for each in arguments),
        {"op": "add", "path": f"{container}/volumeMounts/-", "value": mount},
        {"op": "add", "path": "/spec/volumes/-", "value": volume},
    ]
