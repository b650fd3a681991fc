"""Members come, go and stay away: revoked and invited again, silent for two whole rotations."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from e2e import installation, scenario, workload
from e2e.client import path_of
from e2e.federation import crossing
from e2e.federation.turning import DUAL_TRUST, published, published_for
from e2e.federation.world import PRIMARY, SECONDS, WEST, invite, join, meshca, wait_converged, wait_follows
from e2e.mesh import rotation
from meshca.api import names

if TYPE_CHECKING:
    from e2e.federation.world import Mesh, World

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
ACKNOWLEDGEMENT = timedelta(minutes=11)
"""A little more than a primary waits for a secondary that does not acknowledge a bundle."""


@pytest.mark.parametrize("mesh", ["revoked"], indirect=True)
def test_123_a_revoked_cluster_gets_no_signer_holds_nothing_up_and_comes_back_by_invitation(
    mesh: Mesh,
) -> None:
    primary, member = mesh.primary.cluster, mesh.member
    wait_converged(mesh, member)
    code, said, _ = meshca(primary, "federation", "revoke", member.name, "--yes")
    assert (code, "gets no further signer" in said) == (0, True), said
    # A watch that stands outlives the account, for up to five minutes.
    member.link.reset()
    scenario.wait_ca(member.cluster, mesh.authority, "PrimaryRefuses", kind="Reachable", timeout=SECONDS)
    scenario.wait_event(member.cluster, mesh.authority, "PrimaryRefuses")
    scenario.issue(member.cluster, mesh.namespace, "still", mesh.authority)
    code, said, _ = meshca(member.cluster, "federation", "status")
    assert (code, "PrimaryRefuses" in said) == (1, True), said

    old = rotation.active(primary, mesh.authority)
    rotation.begin(primary, mesh.authority, rotation={"trigger": "without it"})
    rotation.follow(primary, mesh.authority, old, timeout=SECONDS)
    assert rotation.active(member.cluster, mesh.authority) == old
    scenario.wait_gone(primary, path_of(names.NAMESPACE, name=f"meshca-fed-{member.name}"), SECONDS)

    options = ("--configuration", mesh.authority, "--server", member.link.url)
    manifest = invite(primary, member.name, *options)
    secret = manifest.partition("\n---\n")[0]
    join(member.cluster, secret)
    scenario.wait_ca(member.cluster, mesh.authority, "Connected", kind="Reachable", timeout=SECONDS)
    assert wait_follows(mesh) != old
    wait_converged(mesh, member)
    scenario.issue(member.cluster, mesh.namespace, "again", mesh.authority)


@pytest.mark.parametrize("mesh", ["away"], indirect=True)
def test_a_cluster_that_was_down_for_two_rotations_catches_up_with_both(mesh: Mesh) -> None:
    primary, member = mesh.primary.cluster, mesh.member
    wait_converged(mesh, member)
    first = rotation.active(primary, mesh.authority)
    issued = scenario.issue(member.cluster, mesh.namespace, "before", mesh.authority)
    member.site.operator.stop()
    try:
        known = {first}
        for trigger in ("one", "two"):
            before = rotation.active(primary, mesh.authority)
            rotation.begin(primary, mesh.authority, rotation={"trigger": trigger})
            new = published(primary, mesh.authority, known)
            known.add(new)
            published_for(primary, new, ACKNOWLEDGEMENT)
            rotation.follow(primary, mesh.authority, before, timeout=SECONDS)
        # Not before its registration is a minute old, which it may not be yet.
        for root in known - {first}:
            says = f"{member.name!r} does not hold root {root!r}"
            scenario.wait_ca(
                primary, mesh.authority, "SecondaryBehind", says=says, kind="Degraded", timeout=SECONDS
            )
        scenario.wait_event(primary, mesh.authority, "SecondaryBehind")
        # Its leaves of before are good everywhere, since the root that they need is held for it.
        bundle = scenario.bundle(primary, mesh.namespace, mesh.bundle)
        assert workload.openssl_verify(issued["status"]["certificateChain"], bundle) == ""
    finally:
        member.site.operator.start()
        member.site.operator.wait_ready()
    assert wait_follows(mesh) != first
    wait_converged(mesh, member)
    scenario.issue(member.cluster, mesh.namespace, "after", mesh.authority)
    assert len(crossing.trusts(member.cluster, mesh)) == 3
    assert crossing.trusts(member.cluster, mesh) == crossing.trusts(primary, mesh)


@pytest.mark.parametrize("mesh", ["promoted"], indirect=True)
def test_a_secondary_is_promoted_when_its_primary_is_lost(mesh: Mesh) -> None:
    """As the runbook says, with a shorter time of publication."""
    member = mesh.member
    old = rotation.active(member.cluster, mesh.authority)
    issued = scenario.issue(member.cluster, mesh.namespace, "before", mesh.authority)
    member.link.cut()
    wish = {"trigger": "promoted", "forceWithoutCrossSigning": "promoted", "minimumPublishTime": "3s"}
    spec = {"federation": None, "rotation": wish}
    member.cluster.request("PATCH", scenario.path(mesh.authority), {"spec": spec})
    new = rotation.wait_active(member.cluster, mesh.authority, old, SECONDS)
    made = member.cluster.request("GET", path_of(names.CA_ROOT, name=new))
    assert made["spec"]["source"] == "Generated"
    scenario.issue(member.cluster, mesh.namespace, "after", mesh.authority)
    bundle = scenario.bundle(member.cluster, mesh.namespace, mesh.bundle)
    assert workload.openssl_verify(issued["status"]["certificateChain"], bundle) == ""
    status = member.cluster.request("GET", scenario.path(mesh.authority))
    assert not scenario.ready(status, "Reachable"), "it follows nobody any more"
    manifest = invite(
        member.cluster,
        f"next-{mesh.authority}",
        "--configuration",
        mesh.authority,
        "--server",
        "https://west",
    )
    assert status["status"]["trustDomain"] in manifest


def test_047_a_former_primary_becomes_a_secondary_and_keeps_its_old_root(world: World) -> None:
    primary, west = world.sites[PRIMARY].cluster, world.sites[WEST].cluster
    body = scenario.configuration("default", federated=True)
    authority = body["metadata"]["name"]
    for cluster in (primary, west):
        installation.configure(cluster, body, SECONDS)
    own = rotation.active(west, authority)
    issued = scenario.issue(west, "default", f"{authority}-before", authority, renewal="Automatic")
    theirs = rotation.active(primary, authority)
    assert own != theirs

    options = ("--configuration", authority, "--server", world.link().url)
    manifest = invite(primary, f"{WEST}-{authority}", *options)
    join(west, manifest, trustBundle=body["spec"]["trustBundle"])
    assert published(west, authority, {own}) == theirs
    assert rotation.active(west, authority) == own, "both are trusted before anything is signed under it"
    published_for(west, theirs, DUAL_TRUST)
    rotation.follow(west, authority, own, timeout=SECONDS)
    assert rotation.active(west, authority) == theirs
    bundle = scenario.bundle(west, "default", body["spec"]["trustBundle"]["configMapName"])
    assert workload.openssl_verify(issued["status"]["certificateChain"], bundle) == ""
    moved = west.request("GET", workload.path("default", f"{authority}-before"))["status"]["certificateChain"]
    assert moved != issued["status"]["certificateChain"]
    bundle = scenario.bundle(primary, "default", body["spec"]["trustBundle"]["configMapName"])
    assert workload.openssl_verify(moved, bundle) == ""
