"""The admission policy goes, is weakened, and comes back: nothing is signed that nobody checked."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from e2e import polling, scenario, workload
from e2e.client import path_of
from e2e.installation import exists
from meshca.api import admission, names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster
    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
POLICY = path_of(names.VALIDATING_POLICY, name=admission.REQUESTER)
BINDING = path_of(names.VALIDATING_BINDING, name=admission.REQUESTER)
WEAKER: dict[str, tuple[str, JSON, JSON]] = {
    "ignored": (POLICY, {"spec": {"failurePolicy": "Ignore"}}, {"spec": {"failurePolicy": "Fail"}}),
    "warned": (BINDING, {"spec": {"validationActions": ["Warn"]}}, {"spec": {"validationActions": ["Deny"]}}),
    "narrowed": (
        BINDING,
        {"spec": {"matchResources": {"namespaceSelector": {"matchLabels": {"guarded": "yes"}}}}},
        {"spec": {"matchResources": None}},
    ),
}


def ask(cluster: Cluster, namespace: str, name: str) -> None:
    workload.create(cluster, workload.leaf(namespace, name, request=workload.csr().pem))


def ask_once_unguarded(cluster: Cluster, namespace: str, name: str) -> None:
    """Create a request that the policy refuses, as soon as the API server has noticed that it is gone."""
    body = workload.leaf(namespace, name, request=workload.csr().pem)

    def made() -> bool:
        answer = cluster.exchange("POST", workload.path(namespace), body)
        assert answer.status in {201, 403}, answer.body
        return answer.status == 201

    polling.until(made, "the policy is still in force")


@pytest.fixture
def shipped(disturbed: Installation) -> Iterator[JSON]:
    """Return the policy as it was installed; it and its binding are so again when the scenario ends."""
    cluster = disturbed.cluster
    kept = {where: cluster.request("GET", where) for where in (POLICY, BINDING)}
    yield kept[POLICY]
    for where, body in kept.items():
        if not exists(cluster, where):
            cluster.request("POST", where.rsplit("/", 1)[0], scenario.restored(body))
        elif cluster.request("GET", where)["spec"] != body["spec"]:
            cluster.request("PATCH", where, {"spec": {"matchResources": None} | body["spec"]})


def wait_degraded(cluster: Cluster) -> JSON:
    said = scenario.wait_ca(cluster, "default", "AdmissionPolicyMissing", kind="Degraded", status="True")
    assert scenario.ready(said)["status"] == "False"
    assert "apply the chart's" in scenario.ready(said, "Degraded")["message"]
    return said


def wait_guarded(cluster: Cluster) -> JSON:
    """Wait until the policy is as shipped again, which is some time before the CA is Ready again."""
    return scenario.wait_ca(cluster, "default", "AsExpected", kind="Degraded", status="False")


def time_of(condition: JSON) -> datetime:
    return datetime.fromisoformat(condition["lastTransitionTime"])


def test_without_the_policy_in_force_nothing_is_signed_and_what_came_meanwhile_is_refused(
    disturbed: Installation, room: str, shipped: JSON
) -> None:
    cluster = disturbed.cluster
    workload.create(cluster, workload.leaf(room, "old", request=workload.csr().pem, renewal="Automatic"))
    old = workload.wait_reason(cluster, room, "old", "Issued")

    # Gone: not even what was issued before is signed again, and nobody is told a lie about it.
    cluster.request("DELETE", POLICY)
    wait_degraded(cluster)
    ask(cluster, room, "unchecked")
    ask_once_unguarded(cluster, scenario.SYSTEM, "in-our-namespace")
    waiting = workload.wait_reason(cluster, room, "unchecked", "SignerNotReady")
    assert "requester.meshca.dev" in workload.ready_message(waiting)
    due = {"status": {"renewAt": "2026-01-01T00:00:00Z"}}
    cluster.request("PATCH", f"{workload.path(room, 'old')}/status", due, identity=scenario.medic(cluster))
    held = workload.wait_reason(cluster, room, "old", "SignerNotReady")
    assert held["status"]["state"] == "Renew"
    assert scenario.ready(held)["status"] == "True"
    assert held["status"]["serialNumber"] == old["status"]["serialNumber"]

    # Back: renewals go on at once, first issues are for those who came after it is sure to be in force.
    cluster.request("POST", path_of(names.VALIDATING_POLICY), scenario.restored(shipped))
    wait_guarded(cluster)
    ask(cluster, room, "too-early")
    for name in ("unchecked", "too-early"):
        refused = workload.wait_reason(cluster, room, name, "PolicyGap")
        assert "delete it and create it again" in workload.ready_message(refused)
    workload.wait_reason(cluster, scenario.SYSTEM, "in-our-namespace", "Denied")
    workload.wait_reason(cluster, room, "old", "Issued")

    for name, (where, weaker, as_before) in WEAKER.items():
        cluster.request("PATCH", where, weaker)
        wait_degraded(cluster)
        ask(cluster, room, name)
        cluster.request("PATCH", where, as_before)
        guarded = wait_guarded(cluster)
        refused = workload.wait_reason(cluster, room, name, "PolicyGap")
        assert refused["status"]["state"] == "Failed"

    again = cluster.wait(scenario.path("default"), timeout=120)
    took = time_of(scenario.ready(again)) - time_of(scenario.ready(guarded, "Degraded"))
    assert timedelta(seconds=25) <= took <= timedelta(seconds=60)
    for name in ("unchecked", "too-early", *WEAKER):
        left = cluster.request("GET", workload.path(room, name))
        assert scenario.ready(left)["reason"] == "PolicyGap", "it does not heal by waiting"
    cluster.request("DELETE", workload.path(room, "unchecked"))
    ask(cluster, room, "unchecked")
    workload.wait_reason(cluster, room, "unchecked", "Issued")
    cluster.request("DELETE", workload.path(scenario.SYSTEM, "in-our-namespace"))
