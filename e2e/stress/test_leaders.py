"""Replicas killed, stopped and frozen while 200 leaves are asked for: each is issued, and once."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from e2e import polling, scenario
from e2e.mesh import rotation
from e2e.runtime import fleet
from e2e.runtime.fleet import LEASE_SECONDS, LOOKS_SECONDS, READING_SECONDS, SLOWNESS
from e2e.stress.stream import Stream, now

if TYPE_CHECKING:
    from e2e.audit import AuditEvent
    from e2e.cluster import Cluster
    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

ARRIVES = timedelta(seconds=3)
"""After so long the API server has taken in what was sent before."""

IN_ONE_ROUND = 8
"""Writes that one round of an event loop may have handed to its sockets, with 200 leaves underway."""
AT_ONCE = timedelta(seconds=10)


def tell(what: str, seconds: float) -> None:
    """Print a measured time, for whoever runs this with ``-rP``."""
    print(f"recovery: {what}: {seconds:.1f} s")


def lease_writes(cluster: Cluster, mark: int) -> list[AuditEvent]:
    """Return the writes of the Lease since a mark that succeeded."""
    return [event for event in cluster.audit(mark) if event.resource == "leases" and event.succeeded]


def test_a_killed_leader_is_followed_within_the_bounds_of_its_lease(
    disturbed: Installation, room: str
) -> None:
    cluster, operator = disturbed.cluster, disturbed.operator
    with Stream(cluster, room, seconds=28) as stream:
        stream.wait_created(40)
        leader = fleet.leader(cluster, operator)
        holder = fleet.lease(cluster)["holderIdentity"]
        operator.kill(leader)
        killed = now()
        taken = fleet.successor(cluster, holder, timeout=60)
        operator.restart(leader)
    stream.judge()
    waited = (fleet.moment(taken["acquireTime"]) - killed).total_seconds()
    tell("leader killed, Lease taken over", waited)
    tell("leader killed, next leaf issued", stream.recovery(killed))
    assert waited < LEASE_SECONDS + 2 * LOOKS_SECONDS + SLOWNESS
    assert stream.recovery(killed) < waited + READING_SECONDS
    operator.wait_ready()


def test_a_leader_that_is_stopped_hands_over_at_once(disturbed: Installation, room: str) -> None:
    """Twice, so that each replica has led."""
    cluster, operator = disturbed.cluster, fleet.processes(disturbed)
    with Stream(cluster, room, seconds=20) as stream:
        for count in (50, 130):
            stream.wait_created(count)
            leader = fleet.leader(cluster, operator)
            holder = fleet.lease(cluster)["holderIdentity"]
            mark, began, credential = cluster.audit_mark(), now(), operator.credential(leader)
            operator.restart(leader)
            stopping = (now() - began).total_seconds()
            taken = fleet.successor(cluster, holder, timeout=60)
            assert operator.exits(leader)[-1] == 0
            given = max(e.received for e in lease_writes(cluster, mark) if e.credential == credential)
            waited = (fleet.moment(taken["acquireTime"]) - given).total_seconds()
            tell("leader stopped, Lease taken over", waited)
            assert waited < 5 + stopping, "a machine on which a stop takes long is slow in all"
            stopped = began
    stream.judge()
    tell("told to stop, next leaf of anybody issued", stream.recovery(stopped))
    assert stream.recovery(stopped) < 10 + LOOKS_SECONDS + READING_SECONDS


def test_213_a_leader_frozen_past_its_lease_writes_nothing_once_it_wakes(
    disturbed: Installation, room: str
) -> None:
    """It is frozen while it rotates a root; every write is told apart by the token that it came with."""
    cluster, operator = disturbed.cluster, fleet.processes(disturbed)
    body = scenario.configuration(room, rotation={"minimumPublishTime": "3s"})
    name = body["metadata"]["name"]
    cluster.apply(body)
    old = cluster.wait(scenario.path(name), timeout=60)["status"]["activeRoot"]
    scenario.issue(cluster, room, "moving", name, renewal="Automatic")
    leader = fleet.leader(cluster, operator)
    holder, credential = fleet.lease(cluster)["holderIdentity"], operator.credential(leader)
    mark, ends = cluster.audit_mark(), len(operator.exits(leader))
    with Stream(cluster, room, seconds=28) as stream:
        stream.wait_created(40)
        rotation.begin(cluster, name)
        scenario.wait_other(cluster, scenario.path(name), lambda i: rotation.progress(i).phase == "Publish")
        operator.pause(leader)
        frozen = now()
        taken = fleet.successor(cluster, holder, timeout=60)
        stream.wait_created(150)
        woken = now()
        operator.resume(leader)
        polling.until(lambda: len(operator.exits(leader)) > ends, "it goes on beside its successor")
        exited = now()
    assert operator.exits(leader)[-1] == 1
    stream.judge()
    rotation.follow(cluster, name, old)
    its = [event for event in cluster.audit(mark) if event.credential == credential]
    assert any(event.received < frozen for event in its), "or the tokens could not be told apart"
    # What it had sent before is no write of a sleeper; what lay in its event loop leaves when it wakes, and
    # has no effect, since a successor has written all of that meanwhile.
    late = [event for event in its if frozen + ARRIVES < event.received < exited]
    told = [(e.verb, e.resource, e.name, e.code, str(e.received - woken)) for e in late]
    assert [e for e in late if e.succeeded] == [], told
    assert len(late) <= IN_ONE_ROUND, told
    assert all(event.received < woken + AT_ONCE for event in late), told
    assert scenario.made_since(cluster, mark, name) == {"root": 1, "signer": 1, "CARoot": 1}
    authority = scenario.authority(cluster, name)
    assert (len(authority.roots), len(authority.secrets)) == (2, 4)
    tell("leader frozen, Lease taken over", (fleet.moment(taken["acquireTime"]) - frozen).total_seconds())
    tell("leader frozen, next leaf issued", stream.recovery(frozen + ARRIVES) + ARRIVES.total_seconds())
    tell("leader woken, ended", (exited - woken).total_seconds())
    cluster.request("DELETE", scenario.path(name))
    operator.wait_ready()
