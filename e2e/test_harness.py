"""The harness proves itself: what scenarios rely on is really so."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e import polling
from e2e.client import Client
from e2e.controlplane import ControlPlane
from e2e.credentials import Authority
from e2e.errors import ApiError, HarnessError
from e2e.existing import Existing

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.cluster import Cluster

ADMISSION = "/apis/admissionregistration.k8s.io/v1"


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def config_maps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


# --- the audit log ------------------------------------------------------------------------------


def test_the_audit_log_names_user_and_verb_of_every_write_and_no_read(
    cluster: Cluster, namespace: str
) -> None:
    mark = cluster.audit_mark()
    path = config_maps(namespace)
    cluster.request("POST", path, config_map("written"))
    cluster.request("GET", f"{path}/written")
    cluster.request("PATCH", f"{path}/written", {"data": {"a": "b"}})
    cluster.request("DELETE", f"{path}/written")
    found = [
        (event.user, event.verb, event.resource, event.namespace, event.code)
        for event in cluster.audit(mark)
        if event.name == "written"
    ]
    assert found == [
        ("admin", "create", "configmaps", namespace, 201),
        ("admin", "patch", "configmaps", namespace, 200),
        ("admin", "delete", "configmaps", namespace, 200),
    ]


def test_a_refused_write_is_in_the_audit_log_with_its_code(cluster: Cluster, namespace: str) -> None:
    cluster.identity("jane")
    mark = cluster.audit_mark()
    with pytest.raises(ApiError):
        cluster.request("POST", config_maps(namespace), config_map("refused"), identity="jane")
    (event,) = [event for event in cluster.audit(mark) if event.user == "jane"]
    assert (event.verb, event.code, event.succeeded) == ("create", 403, False)


# --- identities ---------------------------------------------------------------------------------


def test_threads_that_come_at_once_share_one_client(cluster: Cluster) -> None:
    cluster.identity("crowd")
    together = threading.Barrier(8)

    def client(_: int) -> Client:
        together.wait()
        return cluster.client("crowd")

    with ThreadPoolExecutor(8) as pool:
        assert len({id(found) for found in pool.map(client, range(8))}) == 1


def test_rbac_decides_what_a_user_and_a_group_may(cluster: Cluster, namespace: str) -> None:
    cluster.identity("nina", ["readers"])
    cluster.identity("otto")
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding"}
    cluster.apply(
        {
            **role,
            "metadata": {"name": "readers", "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "readers"}],
        }
    )
    polling.until(
        lambda: cluster.exchange("GET", config_maps(namespace), identity="nina").status == 200,
        "the binding is not in force",
    )
    assert cluster.exchange("GET", config_maps("default"), identity="nina").status == 403
    assert cluster.exchange("GET", config_maps(namespace), identity="otto").status == 403
    said = cluster.kubectl("auth", "can-i", "list", "cm", "-n", namespace, identity="otto", check=False)
    assert said.stdout.strip() == "no"


def test_a_token_is_its_service_account_and_an_audience_of_its_own_is_not_let_in(
    cluster: Cluster, namespace: str
) -> None:
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    client = cluster.client(token=cluster.token(namespace, "default"))
    name = client.request("POST", path, review)["status"]["userInfo"]["username"]
    assert name == f"system:serviceaccount:{namespace}:default"
    foreign = cluster.client(token=cluster.token(namespace, "default", audience="vault"))
    assert foreign.exchange("POST", path, review).status == 401


def test_an_existing_cluster_is_used_by_its_context_and_left_as_it_was(
    cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig()))
    cluster.request("POST", config_maps(namespace), config_map("there"))
    with Existing("theirs") as existing:
        existing.identity("jane", ["readers"])
        assert existing.server == cluster.server
        assert existing.exchange("GET", f"{config_maps(namespace)}/there").status == 200
        said = existing.kubectl("auth", "whoami", "-o", "yaml", identity="jane").stdout
        assert "username: jane" in said
        assert "- readers" in said
        with pytest.raises(HarnessError, match="not ours"):
            existing.stop_apiserver()
    assert cluster.exchange("GET", f"{config_maps(namespace)}/there").status == 200


def test_a_client_that_trusts_another_ca_refuses_the_server(cluster: Cluster, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "other")
    client = Client(cluster.server, other.ca_file, token="none", dial=cluster.dial)
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        client.exchange("GET", "/version")


# --- what the API server serves -----------------------------------------------------------------


def test_both_kinds_of_admission_policy_are_served(cluster: Cluster) -> None:
    kinds = {item["kind"] for item in cluster.request("GET", ADMISSION)["resources"]}
    assert "ValidatingAdmissionPolicy" in kinds
    if _minor(cluster) >= 36:
        assert {"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"} <= kinds


def test_priority_and_fairness_sorts_every_request(cluster: Cluster) -> None:
    headers = cluster.exchange("GET", "/api/v1/namespaces").headers
    assert headers["X-Kubernetes-Pf-Flowschema-Uid"]
    assert headers["X-Kubernetes-Pf-Prioritylevel-Uid"]


def test_the_version_is_the_one_asked_for(cluster: Cluster) -> None:
    wanted = os.environ.get("K8S", "1.37.2").removeprefix("v")
    assert cluster.version == wanted
    assert wanted in cluster.kubectl("version").stdout


def test_helm_3_and_helm_4_reach_the_cluster(cluster: Cluster) -> None:
    for version in (3, 4):
        assert f'Version:"v{version}.' in cluster.helm("version", version=version).stdout
        assert cluster.helm("list", "-A", version=version).returncode == 0


# --- controllers --------------------------------------------------------------------------------


def test_a_deleted_namespace_goes_and_takes_its_objects(cluster: Cluster) -> None:
    cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": "to-go"}})
    cluster.request("POST", config_maps("to-go"), config_map("inside"))
    cluster.request("DELETE", "/api/v1/namespaces/to-go")
    cluster.wait_for(lambda found: not found, "/api/v1/namespaces/to-go")
    assert cluster.exchange("GET", f"{config_maps('to-go')}/inside").status == 404


def test_the_garbage_collector_removes_what_its_owner_left(cluster: Cluster, namespace: str) -> None:
    path = config_maps(namespace)
    owner = cluster.request("POST", path, config_map("owner"))
    owned = config_map("owned")
    owned["metadata"]["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    ]
    cluster.request("POST", path, owned)
    cluster.request("DELETE", f"{path}/owner")
    cluster.wait_for(lambda found: not found, f"{path}/owned")


# --- waiting ------------------------------------------------------------------------------------


def test_waiting_sees_a_change_that_comes_later(cluster: Cluster, namespace: str) -> None:
    path = config_maps(namespace)
    cluster.request("POST", path, config_map("slow", state="no"))
    later = threading.Timer(0.3, cluster.request, ("PATCH", f"{path}/slow", {"data": {"state": "yes"}}))
    later.start()
    found = cluster.wait_for(
        lambda items: [i for i in items if i["data"]["state"] == "yes"], f"{path}/slow", timeout=10
    )
    later.join()
    assert found[0]["metadata"]["name"] == "slow"


def test_waiting_in_vain_ends_and_says_what_was_there(cluster: Cluster, namespace: str) -> None:
    path = config_maps(namespace)
    cluster.request("POST", path, config_map("stays"))
    started = time.monotonic()
    with pytest.raises(TimeoutError, match="stays"):
        cluster.wait_for(lambda items: not items, f"{path}/stays", timeout=1)
    assert 0.9 < time.monotonic() - started < 30


# --- life cycle (clusters of their own) ---------------------------------------------------------


@pytest.fixture
def own(make_cluster: Callable[[str], Cluster]) -> Cluster:
    return make_cluster("own")


def test_two_clusters_live_side_by_side(cluster: Cluster, own: Cluster) -> None:
    own.request("POST", config_maps("default"), config_map("only-here"))
    assert own.server != cluster.server or own.has_nodes
    assert own.exchange("GET", f"{config_maps('default')}/only-here").status == 200
    assert cluster.exchange("GET", f"{config_maps('default')}/only-here").status == 404
    # Neither passes for the other.
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        Client(cluster.server, own.ca_file, token="none", dial=cluster.dial).exchange("GET", "/version")


def test_the_api_server_and_etcd_come_back_with_everything(own: Cluster) -> None:
    path = f"{config_maps('default')}/kept"
    address = own.server
    own.request("POST", config_maps("default"), config_map("kept"))
    mark = own.audit_mark()
    own.stop_apiserver()
    with pytest.raises(OSError, match=r"."):
        own.exchange("GET", path)
    own.start_apiserver()
    assert own.server == address
    assert own.exchange("GET", path).status == 200
    assert own.audit_mark() > mark

    own.kill_etcd()
    # The API server itself waits for etcd much longer than anybody wants to wait here.
    with pytest.raises(TimeoutError):
        own.client().exchange("POST", config_maps("default"), config_map("lost"), timeout=1)
    own.start_etcd()
    assert own.exchange("GET", path).status == 200
    own.request("PATCH", path, {"data": {"still": "writable"}})


def test_waiting_goes_on_over_a_restart_of_the_api_server(own: Cluster) -> None:
    path = config_maps("default")
    own.request("POST", path, config_map("awaited", state="no"))
    seen: list[str] = []

    def wait() -> None:
        own.wait_for(lambda items: [i for i in items if i["data"]["state"] == "yes"], f"{path}/awaited", 60)
        seen.append("yes")

    waiting = threading.Thread(target=wait)
    waiting.start()
    own.restart_apiserver()
    own.request("PATCH", f"{path}/awaited", {"data": {"state": "yes"}})
    waiting.join(30)
    assert seen == ["yes"]


LEFT_BEHIND = """
import sys, time
from e2e.controlplane import ControlPlane
cluster = ControlPlane("orphan")
cluster.start()
print(cluster.directory, *(process.pid for process in cluster._processes.values()), flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_harness_leaves_no_process_and_no_file() -> None:
    root = str(Path(__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", LEFT_BEHIND], cwd=root, stdout=subprocess.PIPE, text=True
    ) as harness:
        assert harness.stdout is not None
        directory, *pids = harness.stdout.readline().split()
        assert Path(directory).is_dir()
        assert len(pids) == 3
        harness.send_signal(signal.SIGKILL)
    polling.until(
        lambda: not Path(directory).exists() and not any(_runs(pid) for pid in pids),
        "something is still there",
    )


KEPT = """
from e2e.controlplane import ControlPlane
with ControlPlane("kept") as cluster:
    cluster.keep()
    print(cluster.directory, cluster.server, cluster.how_to_end, flush=True)
"""


def test_a_kept_cluster_outlives_the_harness_and_can_be_ended() -> None:
    root = str(Path(__file__).parents[1])
    said = subprocess.run([sys.executable, "-c", KEPT], cwd=root, capture_output=True, text=True, check=True)
    directory, server, *end = said.stdout.split()
    try:
        client = Client.from_kubeconfig(Path(directory, "pki", "admin.conf"), dial=dial)
        assert client.request("GET", "/api/v1/namespaces/default")
        client.close()
    finally:
        subprocess.run(end, cwd=root, check=True)
    assert not Path(directory).exists()
    with pytest.raises(ConnectionRefusedError):
        dial("127.0.0.1", int(server.rpartition(":")[2]), 1)


def dial(host: str, port: int, timeout: float) -> socket.socket:
    return socket.create_connection((host, port), timeout)


def test_a_stopped_cluster_can_be_stopped_again_and_started_anew() -> None:
    cluster = ControlPlane("again")
    cluster.stop()
    with cluster:
        first = cluster.directory
    assert not first.exists()
    with cluster:
        assert cluster.request("GET", "/version")
        assert cluster.directory != first


def _runs(pid: str) -> bool:
    status = Path("/proc", pid, "stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _minor(cluster: Cluster) -> int:
    return int(cluster.version.split(".")[1])
