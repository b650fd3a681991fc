"""API server, etcd, credentials and clock fail while 200 leaves are asked for: each is issued, and once."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from e2e import faketime, polling, scenario
from e2e.client import path_of
from e2e.runtime import fleet
from e2e.stress.stream import Stream, now
from e2e.stress.test_leaders import tell
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.cluster import Cluster
    from e2e.installation import Installation
    from e2e.operator_process import OperatorProcesses

pytestmark = pytest.mark.cluster

OUTAGE = 60.0
ANCHOR = "token-anchor"


@pytest.fixture
def servers(disturbed: Installation) -> Cluster:
    """Return the cluster, if its servers are ours to stop."""
    if not disturbed.cluster.controls_servers:
        pytest.skip("the API server is not ours to stop")
    return disturbed.cluster


def test_the_api_server_is_away_for_a_minute(disturbed: Installation, servers: Cluster, room: str) -> None:
    """Both replicas go on serving health; who led ends, since it cannot renew its Lease."""
    operator = disturbed.operator
    ca = scenario.authority(servers, "default")
    with Stream(servers, room, seconds=20) as stream:
        stream.wait_created(80)
        leader = fleet.leader(servers, operator)
        servers.stop_apiserver()
        gone = time.monotonic()
        while time.monotonic() < gone + OUTAGE:
            time.sleep(1)  # that it is a minute is the point
        assert fleet.metrics(operator, leader)["meshca_leader"] == 0, "nobody leads without a Lease"
        began = now()
        servers.start_apiserver()
        back = now()
    stream.judge(audited=False)
    operator.wait_ready()
    assert scenario.authority(servers, "default") == ca
    tell("API server back, next leaf issued", stream.recovery(back))
    tell("API server begun to start, next leaf issued", stream.recovery(began))
    namespace = f"{room}-late"
    scenario.make_namespace(servers, namespace)
    scenario.bundle(servers, namespace)


def test_etcd_is_killed_and_comes_back(disturbed: Installation, servers: Cluster, room: str) -> None:
    ca = scenario.authority(servers, "default")
    with Stream(servers, room, seconds=15) as stream:
        stream.wait_created(60)
        servers.kill_etcd()
        gone = time.monotonic()
        while time.monotonic() < gone + 3:
            time.sleep(0.5)  # calls hang meanwhile, which nothing announces
        servers.start_etcd()
        back = now()
    stream.judge(audited=False)
    disturbed.operator.wait_ready()
    assert scenario.authority(servers, "default") == ca
    tell("etcd back, next leaf issued", stream.recovery(back))


@pytest.fixture
def anchored(disturbed: Installation, servers: Cluster) -> Iterator[OperatorProcesses]:
    """Return the operator, started with tokens that end with a Secret."""
    operator = fleet.processes(disturbed)
    where = path_of(names.SECRET, scenario.SYSTEM)
    servers.request("POST", where, {"metadata": {"name": ANCHOR}})
    operator.stop()
    operator.anchor = ANCHOR
    operator.start()
    operator.anchor = ""
    operator.wait_ready()
    yield operator
    servers.exchange("DELETE", f"{where}/{ANCHOR}")
    operator.renew_tokens()


def test_tokens_are_rotated_and_the_old_ones_end(
    servers: Cluster, room: str, anchored: OperatorProcesses
) -> None:
    """Nobody restarts for it; then the API server does, and each watch begins anew with what is valid."""
    old = {replica: anchored.token(replica) for replica in anchored.replicas}
    exits = {replica: anchored.exits(replica) for replica in anchored.replicas}
    with Stream(servers, room, seconds=24) as stream:
        stream.wait_created(40)
        anchored.renew_tokens()
        servers.request("DELETE", scenario.secret_path(ANCHOR))
        ended = now()
        for token in old.values():
            wait_refused(servers, token)
        refused = now()
        stream.wait_created(140)
        tell("old tokens refused, next leaf issued", stream.recovery(refused))
        assert {replica: anchored.exits(replica) for replica in anchored.replicas} == exits
        servers.restart_apiserver()
        back = now()
    stream.judge(audited=False)
    anchored.wait_ready()
    tell("API server restarted after that, next leaf issued", stream.recovery(back))
    given = {anchored.credential(replica) for replica in anchored.replicas}
    last = [event for event in stream.issues() if event.received > refused]
    assert ended < refused
    assert {event.credential for event in last} <= given
    namespace = f"{room}-late"
    scenario.make_namespace(servers, namespace)
    scenario.bundle(servers, namespace)


def wait_refused(cluster: Cluster, token: str, timeout: float = 60) -> None:
    """Return once the API server, which remembers tokens for a while, takes this one no more."""
    client = cluster.client(token=token)
    polling.until(
        lambda: client.exchange("GET", fleet.LEASE).status == 401,
        "a token bound to a Secret that is gone is still taken",
        timeout=timeout,
        every=0.2,
    )


def test_a_clock_that_is_stepped_forth_and_back_stops_no_leaf(
    disturbed: Installation, room: str, clock: Path
) -> None:
    """Durations are measured by a clock that nobody sets, so the Lease is kept throughout."""
    cluster, operator = disturbed.cluster, fleet.processes(disturbed)
    fleet.leader(cluster, operator)
    exits = {replica: operator.exits(replica) for replica in operator.replicas}
    holder = fleet.lease(cluster)["holderIdentity"]
    with Stream(cluster, room, seconds=24) as stream:
        stream.wait_created(50)
        faketime.set_offset(clock, timedelta(minutes=5))
        forth = now()
        stream.wait_created(125)
        assert stream.recovery(forth + timedelta(seconds=2)) < 30, "it goes on meanwhile"
        faketime.set_offset(clock, timedelta(0))
        back = now()
    stream.judge()
    tell("clock stepped by five minutes, next leaf issued", stream.recovery(forth))
    tell("clock stepped back, next leaf issued", stream.recovery(back))
    assert fleet.lease(cluster)["holderIdentity"] == holder
    assert {replica: operator.exits(replica) for replica in operator.replicas} == exits
