"""What the replicas tell: health, readiness, metrics as documented, logs that a machine can read."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e import scenario, workload
from e2e.client import path_of
from e2e.runtime import fleet
from meshca.api import names

if TYPE_CHECKING:
    from e2e.cluster import Operator
    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
LEAVES = path_of(names.LEAF)


def replicas(made: Installation) -> tuple[Operator, str, str]:
    """Return the replicas, the name of the one that leads, and the name of one that does not."""
    operator = made.operator
    leader = fleet.leader(made.cluster, operator)
    return operator, leader, next(name for name in operator.replicas if name != leader)


def test_leader_and_standby_are_healthy_and_ready(installed: Installation) -> None:
    operator, *both = replicas(installed)
    for replica in both:
        for page in ("/healthz", "/readyz"):
            assert operator.get(replica, page) == (200, "ok\n"), f"{replica} {page}"
    assert operator.get(both[0], "/debug")[0] == 404


def test_every_documented_metric_is_served_and_no_other_of_ours(installed: Installation) -> None:
    operator, leader, standby = replicas(installed)
    documented = dict(re.findall(r"^\| `(meshca_\w+)` \| (\w+) \|", PAGE.read_text(), re.MULTILINE))
    for replica in (leader, standby):
        text = operator.get(replica, "/metrics")[1]
        served = dict(re.findall(r"^# TYPE (meshca_\w+) (\w+)$", text, re.MULTILINE))
        assert served == documented


def test_metrics_say_what_is_so(installed: Installation, namespace: str) -> None:
    cluster = installed.cluster
    operator, leader, standby = replicas(installed)
    # What the scenarios before left is done with: metrics count for the whole cluster.
    scenario.wait_emptied(cluster)
    fleet.pass_time(cluster)
    before = fleet.metrics(operator, leader)
    workload.create(cluster, workload.leaf(namespace, "csr", request=workload.csr().pem))
    workload.create(cluster, workload.leaf(namespace, "kept", secretName="kept-tls"))
    refused = workload.csr(emails=["a@b.example"]).pem
    workload.create(cluster, workload.leaf(namespace, "refused", request=refused))
    for name, reason in (("csr", "Issued"), ("kept", "Issued"), ("refused", "InvalidRequest")):
        workload.wait_reason(cluster, namespace, name, reason)
    # What is counted of those is counted before this one is looked at.
    workload.create(cluster, workload.leaf(namespace, "waits", account="missing", secretName="x"))
    workload.wait_reason(cluster, namespace, "waits", "Pending")
    after = fleet.metrics(operator, leader)

    def more(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    duration = "meshca_leaf_issue_duration_seconds"
    for kind in ("csr", "managed"):
        labels = f'configuration="default",kind="{kind}"'
        assert more(f"{duration}_count{{{labels}}}") == 1
        assert 0 <= more(f"{duration}_sum{{{labels}}}") < 60
    assert more('meshca_issue_failures_total{reason="InvalidRequest"}') == 1
    assert more('meshca_api_writes_total{kind="LeafCertificateRequest/status",verb="update"}') == 2
    assert more('meshca_api_writes_total{kind="LeafCertificateRequest/status",verb="patch"}') == 2
    assert more('meshca_api_writes_total{kind="Secret",verb="create"}') == 1

    assert (after["meshca_leader"], fleet.metrics(operator, standby)["meshca_leader"]) == (1, 0)
    status = cluster.request("GET", scenario.path("default"))["status"]
    end = datetime.fromisoformat(status["signer"]["notAfter"]).timestamp()
    assert after['meshca_signer_expiry_timestamp_seconds{configuration="default"}'] == end
    root = cluster.request("GET", path_of(names.CA_ROOT, name=status["activeRoot"]))
    end = datetime.fromisoformat(root["status"]["notAfter"]).timestamp()
    labels = f'configuration="default",root="{status["activeRoot"]}"'
    assert after[f"meshca_root_expiry_timestamp_seconds{{{labels}}}"] == end
    assert after['meshca_rotation_phase{configuration="default",phase="None"}'] == 1
    assert after['meshca_rotation_phase{configuration="default",phase="Publish"}'] == 0
    assert 0 <= after["meshca_queue_age_seconds"] < 60
    assert {
        f'meshca_queue_depth{{urgency="{word}"}}' for word in ("control", "expiring", "first")
    } <= after.keys()
    assert after["process_resident_memory_bytes"] < 400 * 2**20


def test_leaves_are_counted_by_state(disturbed: Installation, room: str) -> None:
    """The gauge is brought up to date every 15 seconds."""
    cluster = disturbed.cluster
    operator, leader, _ = replicas(disturbed)
    workload.create(cluster, workload.leaf(room, "csr", request=workload.csr().pem))
    workload.create(cluster, workload.leaf(room, "waits", account="missing", request=workload.csr().pem))
    workload.wait_reason(cluster, room, "csr", "Issued")
    workload.wait_reason(cluster, room, "waits", "Pending")
    words = ("Issued", "Pending", "Failed", "Renew", "Rotate")

    def there() -> dict[str, float]:
        mine = [
            item.get("status", {}).get("state")
            for item in cluster.request("GET", LEAVES)["items"]
            if item["spec"]["caConfigurationName"] == "default"
        ]
        return {word: float(mine.count(word)) for word in words}

    def shown() -> dict[str, float]:
        found = fleet.metrics(operator, leader)
        return {
            word: found.get(f'meshca_leaves{{configuration="default",state="{word}"}}', -1) for word in words
        }

    for _ in range(30):
        if shown() == there():
            return
        fleet.pass_time(cluster, 1)
    assert shown() == there()


def test_every_log_line_is_json_and_each_leaf_and_ca_step_has_one(disturbed: Installation, room: str) -> None:
    """The steps of a CA made here and now: what these replicas did before depends on the scenarios before."""
    cluster = disturbed.cluster
    operator, leader, _ = replicas(disturbed)
    body = scenario.configuration(room)
    name = body["metadata"]["name"]
    cluster.apply(body)
    cluster.wait(scenario.path(name))
    cluster.request("DELETE", scenario.path(name))
    for leaf in ("web", "next"):
        # What is told of one is told before the next is looked at.
        workload.create(cluster, workload.leaf(room, leaf, request=workload.csr().pem))
        workload.wait_reason(cluster, room, leaf, "Issued")
    issued = cluster.request("GET", workload.path(room, "web"))
    lines = [line for replica in operator.replicas for line in operator.logs(replica)]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert {line["level"] for line in lines} <= {"debug", "info", "warning", "error"}
    (said,) = [
        line for line in operator.logs(leader) if line.get("leaf") == "web" and line["namespace"] == room
    ]
    assert (said["message"], said["level"]) == ("leaf issued", "debug")
    assert said["spiffe_id"] == issued["status"]["spiffeID"]
    assert said["serial"] == issued["status"]["serialNumber"]
    steps = [
        (line["step"], line["level"])
        for line in operator.logs(leader)
        if line["message"] == "CA step" and line["configuration"] == name
    ]
    assert {(step, "info") for step in ("MakeRoot", "RecordRoot", "MakeSigner", "CommitActive")} <= set(steps)
