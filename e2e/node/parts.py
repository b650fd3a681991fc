"""The servers of a one-node cluster and their arguments.

Decides how each is called inside the sandbox, where every cluster has the same addresses and ports.
Starts none of them.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from e2e.node import layout

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.node.layout import Layout

ETCD = "http://127.0.0.1:2379"
SERVER = f"https://{layout.NODE_ADDRESS}:{layout.SECURE_PORT}"
"""Where the node's own servers find the API server."""
SERVER_NAMES = (
    "127.0.0.1",
    layout.NODE_ADDRESS,
    layout.SERVICE_ADDRESS,
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


def commands(where: Layout, audit_log: Path) -> dict[str, list[str]]:
    """Return every server's command by its name, in the order in which they are started."""
    own = {
        "etcd": etcd(where),
        "kube-apiserver": apiserver(where, audit_log),
        "kube-controller-manager": manager(where),
        "kube-scheduler": scheduler(where),
        "kube-proxy": [f"--config={where.config}/kube-proxy.yaml"],
    }
    built = {name: [str(where.binaries / name), *arguments] for name, arguments in own.items()}
    return {
        "containerd": [
            str(where.debs / "usr/bin/containerd"),
            f"--config={where.config}/containerd.toml",
        ],
        **built,
        "kubelet": kubelet(where),
    }


def etcd(where: Layout) -> list[str]:
    """Return the arguments of etcd; nobody needs the data after a power failure."""
    return [f"--data-dir={where.directory}/etcd", "--unsafe-no-fsync", "--log-level=warn"]


def apiserver(where: Layout, audit_log: Path) -> list[str]:
    """Return the arguments of the API server."""
    pki = where.pki
    return [
        f"--etcd-servers={ETCD}",
        "--bind-address=0.0.0.0",
        f"--advertise-address={layout.NODE_ADDRESS}",
        f"--secure-port={layout.SECURE_PORT}",
        f"--service-cluster-ip-range={layout.SERVICE_RANGE}",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--enable-priority-and-fairness=true",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki}/sa.pub",
        f"--service-account-signing-key-file={pki}/sa.key",
        f"--audit-policy-file={where.config}/audit.yaml",
        f"--audit-log-path={audit_log}",
        # One file for the whole life: rotation would hide writes from whoever counts them.
        "--audit-log-maxsize=100000",
        "--audit-log-mode=blocking",
    ]


def manager(where: Layout) -> list[str]:
    """Return the arguments of the controller manager: every controller that is on by default."""
    config = where.pki / "kube-controller-manager.conf"
    return [
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        "--bind-address=127.0.0.1",
        f"--cluster-signing-cert-file={where.pki}/ca.crt",
        f"--cluster-signing-key-file={where.pki}/ca.key",
        f"--root-ca-file={where.pki}/ca.crt",
        f"--service-account-private-key-file={where.pki}/sa.key",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        # Its default lies in /usr, outside of what the sandbox has of its own.
        "--flex-volume-plugin-dir=/var/lib/kubelet/volumeplugins",
    ]


def scheduler(where: Layout) -> list[str]:
    """Return the arguments of the scheduler."""
    config = where.pki / "kube-scheduler.conf"
    return [
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
    ]


def kubelet(where: Layout) -> list[str]:
    """Return the command of the kubelet, with what shields the machine from it put before."""
    shield = ["unshare", "--mount", "--propagation=unchanged", sys.executable, "-m", "e2e.node.kubelet"]
    return [
        *shield,
        str(where.binaries / "kubelet"),
        f"--config={where.config}/kubelet.yaml",
        f"--kubeconfig={where.pki}/kubelet.conf",
        f"--hostname-override={layout.NODE}",
        f"--node-ip={layout.NODE_ADDRESS}",
    ]
