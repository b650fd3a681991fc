"""Restarts and changes of the leader, on purpose and by violence: nothing is lost, nothing made twice."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from e2e import polling, scenario, workload
from e2e.runtime import fleet
from e2e.runtime.fleet import LEASE_SECONDS, LOOKS_SECONDS, READING_SECONDS, SLOWNESS
from e2e.stress.stream import REFUSED_FOR_NOW

if TYPE_CHECKING:
    from e2e.cluster import Cluster
    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]


def ask(cluster: Cluster, namespace: str, name: str, **spec: Any) -> None:
    workload.create(cluster, workload.leaf(namespace, name, **{"request": workload.csr().pem} | spec))


def ask_once_served(cluster: Cluster, namespace: str, name: str) -> None:
    """Create a request as soon as a new API server's policies know the kind, which nothing announces."""
    body = workload.leaf(namespace, name, request=workload.csr().pem)

    def made() -> bool:
        answer = cluster.exchange("POST", workload.path(namespace), body)
        assert answer.status in {201, *REFUSED_FOR_NOW}, answer.body
        return answer.status == 201

    polling.until(made, "the kind is not served again")


def settle(cluster: Cluster, namespace: str) -> None:
    """Leave leaves in every state that lasts, and wait until all is said and published."""
    ask(cluster, namespace, "manual")
    ask(cluster, namespace, "automatic", renewal="Automatic")
    workload.create(cluster, workload.leaf("keys", namespace, secretName=f"{namespace}-tls"))
    ask(cluster, namespace, "denied", request=workload.csr(dns_names=["not.allowed"]).pem)
    ask(cluster, namespace, "pending", account="missing")
    ask(cluster, namespace, "nowhere", caConfigurationName="nowhere")
    for name, reason in (
        ("manual", "Issued"),
        ("automatic", "Issued"),
        ("denied", "Denied"),
        ("pending", "Pending"),
        ("nowhere", "ConfigurationNotFound"),
    ):
        workload.wait_reason(cluster, namespace, name, reason)
    workload.wait_reason(cluster, "keys", namespace, "Issued")
    scenario.bundle(cluster, namespace)
    fleet.pass_time(cluster)


def test_i6_restarts_and_changes_of_the_leader_write_nothing_but_the_lease(
    disturbed: Installation, room: str
) -> None:
    """037, 214: after each of them one leaf is issued, which shows that the new leader is at work.

    After the one that is killed it takes no longer than the Lease says.
    """
    cluster, operator = disturbed.cluster, disturbed.operator
    settle(cluster, room)
    before = scenario.authority(cluster, "default")
    active = cluster.request("GET", scenario.path("default"))
    probes: list[str] = []
    mark = cluster.audit_mark()

    def probe() -> None:
        probes.append(f"probe-{len(probes)}")
        ask(cluster, room, probes[-1])
        workload.wait_reason(cluster, room, probes[-1], "Issued", timeout=60)

    for _ in range(2):
        operator.stop()
        operator.start()
        operator.wait_ready()
        probe()
    for _ in range(2):
        operator.restart(fleet.leader(cluster, operator))
        operator.wait_ready()
        probe()
    killed = fleet.leader(cluster, operator)
    operator.kill(killed)
    started = time.monotonic()
    probe()
    # A standby sees the last renewal late, and the end of the term since then; then it reads the world.
    assert time.monotonic() - started < LEASE_SECONDS + 2 * LOOKS_SECONDS + SLOWNESS + READING_SECONDS
    operator.restart(killed)
    operator.wait_ready()
    fleet.pass_time(cluster)

    others = [
        write
        for write in scenario.operator_writes(cluster, mark)
        if write[2:] not in {(room, p) for p in probes}
    ]
    assert others == []
    assert scenario.authority(cluster, "default") == before
    assert cluster.request("GET", scenario.path("default")) == active


def test_a_clean_stop_hands_the_lease_over(disturbed: Installation, room: str) -> None:
    cluster, operator = disturbed.cluster, fleet.processes(disturbed)
    leader = fleet.leader(cluster, operator)
    identity = fleet.lease(cluster)["holderIdentity"]
    began = datetime.now(UTC)
    operator.restart(leader)
    ended = datetime.now(UTC)
    assert operator.exits(leader)[-1] == 0
    assert ended - began < timedelta(seconds=10)
    taken = fleet.successor(cluster, identity, timeout=60)
    assert fleet.moment(taken["acquireTime"]) - began < timedelta(seconds=5) + (ended - began)
    said = [line["message"] for line in operator.logs(leader)]
    assert "the Lease is released" in said
    ask(cluster, room, "web")
    workload.wait_reason(cluster, room, "web", "Issued")


def test_213_a_leader_that_was_frozen_past_its_lease_ends_and_doubles_nothing(
    disturbed: Installation, room: str
) -> None:
    """It is frozen while it makes a CA: the next leader makes one of it, and the first may not go on."""
    cluster, operator = disturbed.cluster, fleet.processes(disturbed)
    leader = fleet.leader(cluster, operator)
    identity, ends = fleet.lease(cluster)["holderIdentity"], len(operator.exits(leader))
    body = scenario.configuration(room)
    name = body["metadata"]["name"]
    cluster.apply(body)
    scenario.wait_other(cluster, scenario.path(name), lambda item: bool(item.get("status")))
    operator.pause(leader)
    try:
        fleet.successor(cluster, identity, timeout=60)
        made = cluster.wait(scenario.path(name))
        before = scenario.authority(cluster, name)
    finally:
        operator.resume(leader)
    operator.wait_ready()
    polling.until(lambda: len(operator.exits(leader)) > ends, "it goes on leading beside its successor")
    assert operator.exits(leader)[-1] != 0
    operator.wait_ready()
    scenario.issue(cluster, room, "web", name)
    after = scenario.authority(cluster, name)
    assert after == before
    assert (len(after.roots), len(after.secrets)) == (1, 2), "one root, its key and one signer"
    assert list(after.roots) == [made["status"]["activeRoot"]]
    cluster.request("DELETE", scenario.path(name))


def test_the_api_server_may_go_and_come_back(disturbed: Installation, room: str) -> None:
    cluster, operator = disturbed.cluster, disturbed.operator
    if not cluster.controls_servers:
        pytest.skip("the API server is not ours to restart")
    ask(cluster, room, "before", renewal="Automatic")
    issued = workload.wait_reason(cluster, room, "before", "Issued")
    ca = scenario.authority(cluster, "default")
    cluster.restart_apiserver()
    ask_once_served(cluster, room, "after")
    workload.wait_reason(cluster, room, "after", "Issued", timeout=120)
    operator.wait_ready()
    assert scenario.authority(cluster, "default") == ca
    kept = cluster.request("GET", workload.path(room, "before"))
    assert kept["metadata"]["resourceVersion"] == issued["metadata"]["resourceVersion"]
    namespace = f"{room}-late"
    scenario.make_namespace(cluster, namespace)
    scenario.bundle(cluster, namespace)
