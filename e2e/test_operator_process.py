"""The process runner gives a replica exactly what a kubelet would, and nothing more."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e import stub_operator
from e2e.errors import ApiError, HarnessError
from e2e.operator_process import OperatorProcesses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster

FIELDS = {
    "MESHCA_NAMESPACE": "metadata.namespace",
    "MESHCA_POD_NAME": "metadata.name",
    "MESHCA_SERVICE_ACCOUNT": "spec.serviceAccountName",
    "MESHCA_HTTP_HOST": "status.podIP",
}


def deployment(namespace: str) -> dict[str, Any]:
    env = [{"name": k, "valueFrom": {"fieldRef": {"fieldPath": v}}} for k, v in FIELDS.items()]
    container = {
        "name": "operator",
        "image": "none",
        "command": ["python", stub_operator.__file__],
        "args": ["--lease=$(MESHCA_LEASE_NAME)"],
        "env": [
            *env,
            {"name": "MESHCA_HTTP_PORT", "value": "8080"},
            {"name": "MESHCA_LEASE_NAME", "value": "$(MESHCA_NAMESPACE)/stub"},
        ],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "timeoutSeconds": 5},
    }
    labels = {"app": "stub"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "stub", "namespace": namespace},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "serviceAccountName": "stub",
                    "terminationGracePeriodSeconds": 5,
                    "containers": [container],
                },
            },
        },
    }


@pytest.fixture
def stub(cluster: Cluster, namespace: str) -> Iterator[OperatorProcesses]:
    cluster.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "stub"}})
    cluster.request("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", deployment(namespace))
    made = OperatorProcesses(cluster, namespace, "stub")
    made.start()
    made.wait_ready()
    yield made
    made.stop()


def test_a_replica_gets_the_environment_of_the_deployment_and_no_more(
    stub: OperatorProcesses, namespace: str
) -> None:
    first, second = stub.replicas
    given = [json.loads(stub.get(name, "/env")[1]) for name in (first, second)]
    expected = {
        *FIELDS,
        *("MESHCA_HTTP_PORT", "MESHCA_LEASE_NAME", "MESHCA_TOKEN_DIR"),
        *("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "PATH", "HOME"),
    }
    # The interpreter itself may add its locale.
    assert {*given[0]} - {"LC_CTYPE"} == expected
    assert given[0]["MESHCA_POD_NAME"] == first
    assert given[0]["MESHCA_NAMESPACE"] == namespace
    assert given[0]["MESHCA_SERVICE_ACCOUNT"] == "stub"
    assert given[0]["MESHCA_HTTP_HOST"].startswith("127.")
    assert given[0]["MESHCA_HTTP_HOST"] != given[1]["MESHCA_HTTP_HOST"]
    assert given[0]["MESHCA_LEASE_NAME"] == f"{namespace}/stub"
    assert stub.logs(first)[0]["arguments"] == [f"--lease={namespace}/stub"]


def test_a_replica_is_its_service_account_and_may_only_what_rbac_gives(
    stub: OperatorProcesses, cluster: Cluster, namespace: str
) -> None:
    replica = stub.replicas[0]
    user = f"system:serviceaccount:{namespace}:stub"
    assert json.loads(stub.get(replica, "/whoami")[1])["username"] == user
    directory = Path(stub.environment(replica)["MESHCA_TOKEN_DIR"])
    assert {file.name for file in directory.iterdir()} == {"ca.crt", "namespace", "token"}
    client = cluster.client(token=(directory / "token").read_text())
    with pytest.raises(ApiError, match="is forbidden"):
        client.request("GET", "/api/v1/secrets")


def test_a_renewed_token_is_another_one_that_works(stub: OperatorProcesses) -> None:
    replica = stub.replicas[0]
    token = Path(stub.environment(replica)["MESHCA_TOKEN_DIR"], "token")
    before = token.read_text()
    stub.renew_tokens()
    assert token.read_text() != before
    assert stub.get(replica, "/whoami")[0] == 200


def test_what_exits_is_started_again_under_the_same_name(stub: OperatorProcesses) -> None:
    replica = stub.replicas[0]
    before = stub.pid(replica)
    with pytest.raises(OSError, match=r".*"):
        stub.get(replica, "/exit")
    stub.wait_ready()
    assert stub.pid(replica) != before
    assert stub.exits(replica) == [3]
    assert [line["event"] for line in stub.logs(replica)] == ["started", "started"]


def test_nobody_waits_long_for_what_ends_again_and_again(
    stub: OperatorProcesses, cluster: Cluster, namespace: str
) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/stub"
    broken = deployment(namespace)
    broken["spec"]["template"]["spec"]["containers"][0]["command"] = ["python", "-c", "exit('the reason')"]
    stub.stop()
    cluster.request("PATCH", path, broken)
    stub.start()
    with pytest.raises(HarnessError, match=r"ended 3 times meanwhile\nthe reason"):
        stub.wait_ready(60)


def test_a_killed_replica_stays_down_until_it_is_restarted(stub: OperatorProcesses) -> None:
    first, second = stub.replicas
    stub.kill(first)
    assert stub.replicas == [second]
    assert stub.exits(first) == [-signal.SIGKILL]
    stub.restart(first)
    stub.wait_ready()
    assert stub.replicas == [first, second]


def test_a_paused_replica_answers_nothing_until_it_goes_on(stub: OperatorProcesses) -> None:
    replica = stub.replicas[0]
    stub.pause(replica)
    assert not stub.ready(replica)
    stub.resume(replica)
    stub.wait_ready()


def test_a_stop_is_clean_and_the_next_start_follows_the_deployment(
    stub: OperatorProcesses, cluster: Cluster, namespace: str
) -> None:
    old = stub.replicas
    stub.stop()
    assert stub.replicas == []
    assert [stub.exits(name) for name in old] == [[0], [0]]
    assert [stub.logs(name)[-1] for name in old] == [{"event": "stopped"}] * 2
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/stub"
    cluster.request("PATCH", path, {"spec": {"replicas": 1}})
    stub.start()
    assert len(stub.replicas) == 1
    assert not {*stub.replicas} & {*old}
