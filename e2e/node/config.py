"""The configuration files of containerd, CNI, the kubelet and kube-proxy.

Decides what is in them, with the reason for each setting that is not obvious; starts nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from e2e.node import layout

if TYPE_CHECKING:
    from e2e.node.layout import Layout

# TOML is written by hand because the standard library only reads it.
# restrict_oom_score_adj: without CAP_SYS_RESOURCE the sandbox's score cannot be lowered, and runc fails.
# opt: its default place is outside of everything that stand-ins cover.
_CONTAINERD = """\
version = 2
oom_score = 0
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = {socket}
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {pause}
  restrict_oom_score_adj = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = {runc}
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {plugins}
    conf_dir = {networks}
"""


def containerd(where: Layout) -> str:
    """Return containerd's configuration as TOML; a JSON string is a TOML string too."""
    return _CONTAINERD.format(
        socket=json.dumps(layout.CONTAINERD_SOCKET),
        pause=json.dumps(layout.PAUSE),
        runc=json.dumps(str(where.debs / "usr/sbin/runc")),
        plugins=json.dumps(str(where.debs / "usr/lib/cni")),
        networks=json.dumps(str(where.config / "cni")),
    )


def network() -> dict[str, Any]:
    """Return the network of Pods: one bridge, addresses from one range, a default route to the node."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": layout.POD_RANGE}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    return {"cniVersion": "0.4.0", "name": "meshca", "plugins": [bridge]}


def kubelet(where: Layout) -> dict[str, Any]:
    """Return the kubelet's configuration."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{where.cgroup}",
        "containerRuntimeEndpoint": f"unix://{layout.CONTAINERD_SOCKET}",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(where.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(where.pki / "kubelet-serving.crt"),
        "tlsPrivateKeyFile": str(where.pki / "kubelet-serving.key"),
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": False,
        "resolvConf": str(where.config / "resolv.conf"),
        "clusterDomain": "cluster.local",
        "clusterDNS": [layout.DNS_ADDRESS],
        "volumePluginDir": "/var/lib/kubelet/volumeplugins",
        "syncFrequency": "3s",
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "2%", "imagefs.available": "2%"},
        "enforceNodeAllocatable": ["pods"],
        "shutdownGracePeriod": "0s",
        "nodeStatusUpdateFrequency": "5s",
    }


def proxy(where: Layout) -> dict[str, Any]:
    """Return kube-proxy's configuration; connection tracking keeps the kernel's own limits."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(where.pki / "kube-proxy.conf")},
        "clusterCIDR": layout.POD_RANGE,
        "hostnameOverride": layout.NODE,
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
        "oomScoreAdj": 0,
    }


def write(where: Layout, audit_policy: str) -> None:
    """Write every file below ``where.config``."""
    (where.config / "cni").mkdir(parents=True)
    files = {
        "containerd.toml": containerd(where),
        "cni/10-meshca.conflist": json.dumps(network()),
        "kubelet.yaml": json.dumps(kubelet(where)),
        "kube-proxy.yaml": json.dumps(proxy(where)),
        "resolv.conf": f"nameserver {layout.DNS_ADDRESS}\n",
        "audit.yaml": audit_policy,
    }
    for name, text in files.items():
        (where.config / name).write_text(text)
