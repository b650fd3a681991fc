"""The link between clusters is cut, reset, swallowed and slowed down in every phase of a rotation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from e2e import installation, scenario
from e2e.federation import crossing
from e2e.federation.world import SECONDS, wait_converged, wait_follows
from e2e.mesh import rotation

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.cluster import Cluster
    from e2e.federation.world import Mesh
    from e2e.link import Link

pytestmark = [pytest.mark.cluster, pytest.mark.parametrize("mesh", ["cut"], indirect=True)]

JSON = dict[str, Any]


def wait_reason(cluster: Cluster, mesh: Mesh, reason: str) -> None:
    scenario.wait_ca(cluster, mesh.authority, reason, kind=rotation.CONDITION, timeout=SECONDS)


@dataclass(frozen=True, slots=True)
class Outage:
    """One way in which a link fails, and at which moment of a rotation it does."""

    name: str
    disturb: Callable[[Link], None]
    before: bool = False
    at_secondary: bool = False
    lasts: bool = False


OUTAGES = (
    # What the primary prepares and publishes while nobody hears it.
    Outage("black hole through Prepare and Publish", lambda link: link.black_hole(), before=True),
    # The secondary knows both roots and not that one of them is in charge now.
    Outage("cut in Activate", lambda link: link.cut()),
    # It has activated, and moves its own leaves with nobody to ask.
    Outage("cut in Reissue", lambda link: link.cut(), at_secondary=True),
    Outage("slow from the beginning to the end", lambda link: link.delay(0.3), before=True, lasts=True),
    Outage("reset every three seconds to the end", lambda link: link.flap(3), before=True, lasts=True),
)


def fail(mesh: Mesh, outage: Outage, old: str) -> None:
    """Begin a rotation away from ``old`` and let the link fail in it."""
    primary, member = mesh.primary.cluster, mesh.member
    if outage.before:
        outage.disturb(member.link)
    rotation.begin(primary, mesh.authority, rotation={"trigger": outage.name})
    if not outage.before:
        watched = member.cluster if outage.at_secondary else primary
        rotation.wait_active(watched, mesh.authority, old, SECONDS)
        outage.disturb(member.link)
    elif member.link.swallows:
        wait_reason(primary, mesh, "Publish")


@pytest.mark.parametrize("outage", OUTAGES, ids=[outage.name for outage in OUTAGES])
def test_handshakes_go_on_while_the_link_fails_and_the_secondary_catches_up(
    mesh: Mesh, outage: Outage
) -> None:
    primary, member = mesh.primary.cluster, mesh.member
    old = rotation.active(primary, mesh.authority)
    wait_converged(mesh, member)
    with crossing.pair(mesh, member) as pair:
        with pair.stream(40) as stream:
            stream.wait(20)
            try:
                fail(mesh, outage, old)
                # Whatever the link does, its own workloads are served, and everybody trusts them.
                name = f"in-{len(outage.name)}"
                scenario.issue(member.cluster, mesh.namespace, name, mesh.authority, renewal="Automatic")
                stream.wait(80)
                if not outage.lasts:
                    member.link.heal()
                wait_follows(mesh)
                for cluster in mesh.clusters:
                    rotation.follow(cluster, mesh.authority, old, timeout=SECONDS)
                pair.wait_moved(stream, SECONDS)
                wait_converged(mesh, member)
            finally:
                member.link.heal()
            stream.wait(20)
        pair.assert_no_failure(stream)
    crossing.prune(mesh, old)


def test_a_primary_that_is_down_stops_no_issuing_and_is_found_again(mesh: Mesh) -> None:
    primary, member = mesh.primary.cluster, mesh.member
    mark = member.cluster.audit_mark()
    primary.stop_apiserver()
    try:
        member.link.reset()
        for number in range(10):
            name = f"alone-{number}"
            scenario.issue(member.cluster, mesh.namespace, name, mesh.authority, renewal="Automatic")
        scenario.wait_ca(
            member.cluster, mesh.authority, "PrimaryUnreachable", kind="Reachable", timeout=SECONDS
        )
        status = member.cluster.request("GET", scenario.path(mesh.authority))
        assert scenario.ready(status)["status"] == "True"
    finally:
        primary.start_apiserver()
    installation.wait_filled(primary)
    mesh.primary.operator.wait_ready()
    scenario.wait_ca(member.cluster, mesh.authority, "Connected", kind="Reachable", timeout=SECONDS)
    made = [
        kind for verb, kind in scenario.writes_for(member.cluster, mark, mesh.authority) if verb == "create"
    ]
    assert "secrets" not in made, "no signer was made for want of a primary"
    before = rotation.active(primary, mesh.authority)
    turned = crossing.turn(mesh, "after the outage")
    assert turned.new != before
    crossing.prune(mesh, before)
