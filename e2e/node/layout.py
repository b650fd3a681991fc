"""Where everything of one cluster lies and which addresses it has.

Decides names, paths and addresses; never touches a file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

NODE = "node-1"
# Every cluster has the same addresses, each in a network namespace without a way out.
NODE_ADDRESS = "10.250.0.1"
NODE_NETWORK = f"{NODE_ADDRESS}/24"
POD_RANGE = "10.244.0.0/24"
SERVICE_RANGE = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"
# No DNS server is there: Pods find the API server by the variables that the kubelet gives them.
DNS_ADDRESS = "10.96.0.10"
SECURE_PORT = 6443

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
PAUSE = "localhost/meshca-pause:1"

ROOT = Path(__file__).resolve().parent.parent.parent
"""The tree that the sandbox's own Python modules are imported from."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one cluster.

    ``directory`` is its run directory, ``binaries`` holds the Kubernetes programs, ``debs`` is the root
    below which Debian packages were unpacked.
    """

    directory: Path
    binaries: Path
    debs: Path

    @property
    def cgroup(self) -> str:
        """Name of the cluster's control group in every hierarchy; as unique as the run directory's."""
        return f"meshca-{self.directory.name}"

    @property
    def pki(self) -> Path:
        """Directory of certificates, keys and kubeconfigs."""
        return self.directory / "pki"

    @property
    def logs(self) -> Path:
        """Directory with one log file for each server."""
        return self.directory / "logs"

    @property
    def config(self) -> Path:
        """Directory of the configuration files."""
        return self.directory / "config"

    @property
    def control(self) -> Path:
        """Socket on which the sandbox's first process takes orders."""
        return self.directory / "control"

    @property
    def stand_ins(self) -> dict[str, Path]:
        """Return the folders that stand in for the machine's own inside the sandbox."""
        return {"/var/lib": self.directory / "var-lib", "/var/log": self.directory / "var-log"}

    @property
    def pod_logs(self) -> Path:
        """Directory, as seen from outside, in which the kubelet keeps the logs of containers."""
        return self.stand_ins["/var/log"] / "pods"

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of every process in the sandbox."""
        programs = [self.binaries, *(self.debs / part for part in ("usr/sbin", "usr/bin", "sbin", "bin"))]
        system = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        libraries = [*self.debs.glob("usr/lib/*-linux-gnu"), *self.debs.glob("lib/*-linux-gnu")]
        return {
            "PATH": os.pathsep.join([*map(str, programs), *system]),
            "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
            "LC_ALL": "C.UTF-8",
            "HOME": str(self.directory),
            "CONTAINERD_ADDRESS": CONTAINERD_SOCKET,
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
