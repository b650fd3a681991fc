"""The node flavour proves itself: Pods really run, and nothing of it is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import meshca
from e2e import image, polling
from e2e.node import cgroups, layout
from e2e.node.conftest import made, settle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from e2e.node.cluster import NodeCluster

pytestmark = pytest.mark.node

JSON = dict[str, Any]

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
# What a process may do, as the kernel sees it, and whether it can write to its own file system.
LOOK = """
import json, os
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
try:
    open("/written", "w")
    writable = True
except OSError:
    writable = False
print(json.dumps({
    "uid": os.getuid(), "capabilities": int(status["CapBnd"], 16), "seccomp": int(status["Seccomp"]),
    "no_new_privileges": int(status["NoNewPrivs"]), "writable": writable,
    "token": os.path.exists("/var/run/secrets/kubernetes.io/serviceaccount/token"),
    "server": os.environ["KUBERNETES_SERVICE_HOST"],
}))
"""
# Calls the API server the way that any client in a Pod finds it.
CALL = """
import os, ssl, urllib.request
base = "/var/run/secrets/kubernetes.io/serviceaccount/"
host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
request = urllib.request.Request(f"https://{host}:{port}/version")
request.add_header("Authorization", "Bearer " + open(base + "token").read())
context = ssl.create_default_context(cafile=base + "ca.crt")
print(urllib.request.urlopen(request, context=context, timeout=10).read().decode())
"""
SERVE = "import http.server as h; h.HTTPServer(('', 8080), h.SimpleHTTPRequestHandler).serve_forever()"


def pod(name: str, command: Iterable[str]) -> JSON:
    container = {
        "name": "main",
        "image": image.reference(),
        "command": list(command),
        "securityContext": RESTRICTED,
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "containers": [container], "terminationGracePeriodSeconds": 1},
    }


def pods(namespace: str = "default") -> str:
    return f"/api/v1/namespaces/{namespace}/pods"


def in_phase(phase: str) -> Any:
    def match(found: list[JSON]) -> bool:
        return any(item["status"].get("phase") == phase for item in found)

    return match


def output(cluster: NodeCluster, name: str, command: Iterable[str]) -> str:
    """Run a Pod to its end and return what it printed."""
    cluster.request("POST", pods(), pod(name, command))
    cluster.wait_for(in_phase("Succeeded"), f"{pods()}/{name}")
    printed = cluster.kubectl("logs", name).stdout
    cluster.request("DELETE", f"{pods()}/{name}")
    return printed


def gone(pid: int) -> bool:
    return not Path("/proc", str(pid)).exists()


def traces(directory: Path) -> list[str]:
    """Return what a cluster has left on the machine."""
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if directory.name in line]
    groups = [str(path) for path in cgroups.groups(f"meshca-{directory.name}")]
    return [*mounts, *groups, *([str(directory)] if directory.exists() else [])]


def test_the_node_is_ready_and_has_the_wanted_version(node: NodeCluster) -> None:
    found = node.wait(f"/api/v1/nodes/{layout.NODE}")
    assert found["status"]["nodeInfo"]["kubeletVersion"] == f"v{node.version}"
    assert found["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://")


def test_a_restricted_pod_has_the_rights_it_was_given_and_no_more(node: NodeCluster) -> None:
    seen = json.loads(output(node, "look", ["python3", "-c", LOOK]))
    assert seen == {
        "uid": image.USER,
        "capabilities": 0,
        "seccomp": 2,
        "no_new_privileges": 1,
        "writable": False,
        "token": True,
        "server": layout.SERVICE_ADDRESS,
    }


def test_a_pod_reaches_the_api_server_through_its_service(node: NodeCluster) -> None:
    said = json.loads(output(node, "call", ["python3", "-c", CALL]))
    assert said["gitVersion"] == f"v{node.version}"


def test_the_operator_image_says_its_version_in_a_restricted_pod(node: NodeCluster) -> None:
    assert output(node, "version", ["meshca-operator", "--version"]).split()[-1] == meshca.__version__


def test_the_operator_image_has_no_shell(node: NodeCluster) -> None:
    names = "import os, shutil; print([n for n in ('sh', 'bash', 'dash', 'apt', 'pip') if shutil.which(n)])"
    assert output(node, "shell", ["python3", "-c", names]).strip() == "[]"


def test_the_harness_reaches_a_pod_by_its_address(node: NodeCluster) -> None:
    node.request("POST", pods(), pod("server", ["python3", "-c", SERVE]))
    address = node.wait(f"{pods()}/server")["status"]["podIP"]
    deadline = time.monotonic() + 60
    while True:
        try:
            status, text = node.ask(address, 8080, "/")
            break
        except ConnectionRefusedError:
            # The Pod has no readiness probe, so it is Ready before it listens.
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert (status, "Directory listing" in text) == (200, True)
    node.request("DELETE", f"{pods()}/server")


def test_pods_go_on_while_the_kubelet_is_restarted(node: NodeCluster) -> None:
    node.request("POST", pods(), pod("lasting", ["python3", "-c", SERVE]))
    before = node.wait(f"{pods()}/lasting")["status"]["containerStatuses"]
    lease = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{layout.NODE}"
    # A kubelet runs Pods some moments before it has made its Lease.
    (beat,) = node.wait_for(lambda leases: leases or None, lease)
    node.restart_kubelet()

    def beats(leases: list[JSON]) -> bool:
        return any(lease["spec"]["renewTime"] > beat["spec"]["renewTime"] for lease in leases)

    node.wait_for(beats, lease)
    # A Pod that starts after it proves that the new one works.
    assert output(node, "later", ["python3", "-c", "print(1)"]) == "1\n"
    after = node.request("GET", f"{pods()}/lasting")["status"]["containerStatuses"]
    assert [(entry["containerID"], entry["restartCount"]) for entry in after] == [
        (entry["containerID"], 0) for entry in before
    ]
    node.request("DELETE", f"{pods()}/lasting")


def test_servers_come_back_at_the_same_address_with_their_data(node: NodeCluster) -> None:
    node.request("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "kept"}})
    server = node.server
    node.kill_etcd()
    node.start_etcd()
    node.restart_apiserver()
    # Scenarios that issue and run Pods share this cluster, and may come next.
    settle(node)
    # Nothing else tells that scheduler and kubelet, which asked ever less often meanwhile, watch again.
    assert output(node, "again", ["python3", "-c", "print(1)"]) == "1\n"
    assert node.server == server
    assert node.request("DELETE", "/api/v1/namespaces/default/configmaps/kept")["status"] == "Success"


def test_the_machines_own_settings_are_as_before(node: NodeCluster) -> None:
    assert node.sandbox.alive("kubelet")
    # The kubelet wants 1 for both; on a machine that has them so already this proves nothing.
    mine = Path("/proc/sys/vm/overcommit_memory").read_text().strip()
    inside = node.run_inside(["cat", "/proc/sys/vm/overcommit_memory"], namespaces=("mount", "pid"))
    assert inside.stdout.strip() == mine
    assert not [line for line in Path("/proc/net/dev").read_text().splitlines() if "node0" in line]


def test_two_clusters_live_side_by_side_and_leave_nothing(node: NodeCluster) -> None:
    with made("second") as second:
        assert output(second, "twin", ["python3", "-c", "print(2)"]) == "2\n"
        assert output(node, "twin", ["python3", "-c", "print(1)"]) == "1\n"
        directory, pids = second.directory, second.sandbox.pids()
        assert len(pids) >= 8
        assert traces(directory)
    assert [pid for pid in pids if not gone(pid)] == []
    assert traces(directory) == []
    assert node.sandbox.alive("kubelet")


def begun(what: str) -> subprocess.Popen[str]:
    """Start a cluster from another process, which then does ``what`` after it said what it has."""
    script = (
        "import sys\n"
        "from e2e.node.cluster import NodeCluster\n"
        "cluster = NodeCluster('other', images=[])\n"
        "cluster.start()\n"
        f"{what}\n"
        "print(cluster.directory, *cluster.sandbox.pids(), flush=True)\n"
        "sys.stdin.read()\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{layout.ROOT}{os.pathsep}{layout.ROOT / 'operator'}"},
        start_new_session=True,
    )


def said(child: subprocess.Popen[str]) -> tuple[Path, list[int]]:
    """Return the run directory and the processes that another process told us."""
    assert child.stdout is not None
    name, *numbers = child.stdout.readline().split()
    assert numbers
    return Path(name), [int(number) for number in numbers]


def wait_traceless(directory: Path, pids: list[int]) -> None:
    polling.until(
        lambda: all(gone(pid) for pid in pids) and not traces(directory),
        lambda: (pids, traces(directory)),
        every=0.1,
    )


def test_nothing_is_left_when_the_harness_is_killed(node: NodeCluster) -> None:
    with begun("") as child:
        directory, pids = said(child)
        child.kill()
    wait_traceless(directory, pids)
    assert node.sandbox.alive("kubelet")


def test_a_kept_cluster_outlives_the_harness_and_ends_by_its_directory(node: NodeCluster) -> None:
    with begun("cluster.keep()") as child:
        directory, pids = said(child)
        child.communicate()
    assert child.returncode == 0
    kubeconfig = f"--kubeconfig={directory}/pki/admin.conf"
    found = subprocess.run(
        [node.binaries / "kubectl", kubeconfig, "get", "--raw=/readyz"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "ok"
    subprocess.run([sys.executable, "-m", "e2e.node", directory], check=True, cwd=layout.ROOT)
    wait_traceless(directory, pids)
