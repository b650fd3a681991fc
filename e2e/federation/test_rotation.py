"""A rotation in the primary, followed by two secondaries under live mutual TLS across clusters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from e2e import scenario
from e2e.client import path_of
from e2e.federation import crossing
from e2e.federation.world import SECONDS, wait_converged, wait_follows
from e2e.mesh import rotation
from e2e.mesh.pair import CLIENT, SERVER
from meshca.api import names
from meshca.api.v1alpha1.scalars import format_time

if TYPE_CHECKING:
    from e2e.cluster import Cluster
    from e2e.federation.world import Mesh

pytestmark = [pytest.mark.cluster, pytest.mark.parametrize("mesh", ["turned"], indirect=True)]

JSON = dict[str, Any]


def test_120_no_handshake_across_clusters_fails_while_two_secondaries_follow(
    mesh: Mesh, capsys: pytest.CaptureFixture[str]
) -> None:
    west, east = mesh.members
    marks = {cluster.name: cluster.audit_mark() for cluster in mesh.clusters}
    with crossing.pair(mesh, west) as there, crossing.pair(mesh, east, backwards=True) as back:
        before = {pair: {pair.serial(CLIENT), pair.serial(SERVER)} for pair in (there, back)}
        with there.stream(40) as first, back.stream(40) as second:
            first.wait(20)
            second.wait(20)
            turned = crossing.turn(mesh, "followed")
            there.wait_moved(first)
            back.wait_moved(second)
            for member in mesh.members:
                wait_converged(mesh, member)
            crossing.prune(mesh, turned.old)
            for pair in (there, back):
                pair.wait_trust(rotation.certificate(mesh.primary.cluster, turned.new))
            first.wait(40)
            second.wait(40)
        there.assert_no_failure(first)
        back.assert_no_failure(second)
        for pair in (there, back):
            assert not before[pair] & {pair.serial(CLIENT), pair.serial(SERVER)}
    assert wait_follows(mesh) == turned.new != turned.old
    with capsys.disabled():
        tell(mesh, turned, marks)


def tell(mesh: Mesh, turned: crossing.Turned, marks: dict[str, int]) -> None:
    """Print what a rotation cost and how long it took, as docs/federation.md quotes it."""
    print(f"\nprimary activated {turned.activated:.1f} s after the wish")
    for name, seconds in turned.followed.items():
        print(f"{name}: activated {seconds:.1f} s later, complete after {turned.completed[name]:.1f} s")
    for cluster in mesh.clusters:
        writes = scenario.writes_for(cluster, marks[cluster.name], mesh.authority, mesh.namespace)
        counts = {kind: sum(1 for _, one in writes if one == kind) for kind in sorted({k for _, k in writes})}
        print(f"{cluster.name}: {len(writes)} writes of its operator: {counts}")
    for member in mesh.members:
        user = f"system:serviceaccount:meshca-fed-{member.name}:meshca"
        events = mesh.primary.cluster.audit(marks[mesh.primary.cluster.name])
        theirs = [f"{event.verb} {event.resource}" for event in events if event.user == user]
        print(f"{member.name} in the primary: {len(theirs)} writes: {sorted(theirs)}")


def need_it_no_more(cluster: Cluster, root: str) -> None:
    """Let the time pass in which leaves that were replaced could still be in use in a cluster."""
    past = format_time(datetime.now(UTC) - timedelta(minutes=1))
    body = {"metadata": {"annotations": {names.ANNOTATION_PRUNABLE_AFTER: past}}}
    cluster.client(scenario.medic(cluster)).request("PATCH", path_of(names.CA_ROOT, name=root), body)


def test_a_root_stays_until_no_secondary_needs_it(mesh: Mesh) -> None:
    """One of both is cut off before the rotation's end: the primary keeps the root and says for whom.

    What it says of the one depends on what that could still report: nothing, or that it signs under the
    root, or that it has leaves under it.
    """
    primary, (west, east) = mesh.primary.cluster, mesh.members
    old = rotation.active(primary, mesh.authority)
    where = path_of(names.CA_ROOT, name=old)
    rotation.begin(primary, mesh.authority, rotation={"trigger": "held"})
    rotation.wait_active(primary, mesh.authority, old, SECONDS)
    east.link.cut()
    try:
        wait_follows(mesh, [west])
        rotation.follow(primary, mesh.authority, old, timeout=SECONDS)
        rotation.follow(west.cluster, mesh.authority, old, timeout=SECONDS)
        need_it_no_more(west.cluster, old)
        need_it_no_more(primary, old)
        held = scenario.wait_other(
            primary, where, lambda item: east.name in told(item) and west.name not in told(item), SECONDS
        )
        assert any(why in told(held) for why in ("has not reported", "still signs under it", "has leaves"))
    finally:
        east.link.heal()
    wait_follows(mesh)
    rotation.follow(east.cluster, mesh.authority, old, timeout=SECONDS)
    scenario.wait_other(primary, where, lambda item: "has leaves under it" in told(item), SECONDS)
    need_it_no_more(east.cluster, old)
    for cluster in mesh.clusters:
        scenario.wait_gone(cluster, where, SECONDS)


def told(root: JSON) -> str:
    """Return what a CARoot says of itself."""
    return str(scenario.ready(root).get("message", ""))
