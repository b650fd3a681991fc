"""A secondary that is told wrong things takes nothing over, says so, and goes on once it is told right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from e2e import scenario
from e2e.client import path_of
from e2e.federation.world import EAST, PRIMARY, SECONDS, WEST, invite, join
from e2e.mesh import rotation
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.cluster import Cluster
    from e2e.federation.world import Mesh, World

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]


def secrets(cluster: Cluster, authority: str) -> list[str]:
    """Return the names of the CARoots and of the CA Secrets that there are of a CA."""
    found = scenario.authority(cluster, authority)
    return [*found.roots, *found.secrets]


def wait_degraded(cluster: Cluster, authority: str, reason: str, says: str = "") -> JSON:
    """Wait until this is a condition and an Event."""
    found = scenario.wait_ca(cluster, authority, reason, says=says, kind="Degraded", timeout=SECONDS)
    scenario.wait_event(cluster, authority, reason)
    return found


def change(manifest: str, **fields: str) -> str:
    """Change fields of the primary's description in a join manifest."""
    documents = [item for item in yaml.safe_load_all(manifest) if item]
    documents[1]["spec"]["federation"]["primary"] |= fields
    return yaml.safe_dump_all(documents)


@pytest.fixture
def invited(world: World) -> Callable[[str], tuple[str, JSON]]:
    """Return a function that makes a CA in the primary and invites a cluster to it.

    It returns the join manifest and what a CAConfiguration of the secondary needs besides.
    """

    def make(site: str) -> tuple[str, JSON]:
        primary = world.sites[PRIMARY].cluster
        body = scenario.configuration("default", federated=True)
        primary.apply(body)
        authority = body["metadata"]["name"]
        primary.wait(scenario.path(authority), timeout=SECONDS)
        options = ("--configuration", authority, "--server", world.link().url)
        return invite(primary, f"{site}-{authority}", *options), body

    return make


def test_a_primary_that_does_not_match_its_digest_is_not_followed_until_it_does(
    world: World, invited: Callable[[str], tuple[str, JSON]]
) -> None:
    manifest, body = invited(WEST)
    cluster, authority = world.sites[WEST].cluster, body["metadata"]["name"]
    right = yaml.safe_load(manifest.partition("\n---\n")[2])["spec"]["federation"]["primary"]["bundleDigest"]
    join(cluster, change(manifest, bundleDigest="ab" * 32), trustBundle=body["spec"]["trustBundle"])
    wait_degraded(cluster, authority, "PrimaryMismatch")
    assert secrets(cluster, authority) == []
    spec = {"federation": {"primary": {"bundleDigest": right}}}
    cluster.request("PATCH", scenario.path(authority), {"spec": spec})
    cluster.wait(scenario.path(authority), timeout=SECONDS)
    scenario.wait_ca(cluster, authority, "AsExpected", kind="Degraded", timeout=SECONDS)


def test_a_primary_of_another_trust_domain_is_not_followed(
    world: World, invited: Callable[[str], tuple[str, JSON]]
) -> None:
    manifest, body = invited(EAST)
    cluster, authority = world.sites[EAST].cluster, body["metadata"]["name"]
    join(cluster, manifest, trustBundle=body["spec"]["trustBundle"], trustDomain="somebody.else")
    wait_degraded(cluster, authority, "PrimaryMismatch")
    assert not [name for name in secrets(cluster, authority) if not name.startswith("meshca-signer-")]
    assert scenario.ready(cluster.request("GET", scenario.path(authority)))["status"] == "False"


def test_the_second_cluster_under_a_name_says_so_and_the_first_goes_on(
    world: World, invited: Callable[[str], tuple[str, JSON]]
) -> None:
    manifest, body = invited(WEST)
    authority = body["metadata"]["name"]
    for site in (WEST, EAST):
        cluster = world.sites[site].cluster
        join(cluster, manifest, trustBundle=body["spec"]["trustBundle"])
        if site == WEST:
            cluster.wait(scenario.path(authority), timeout=SECONDS)
            where = path_of(names.FEDERATED_CLUSTER, name=f"{WEST}-{authority}")
            world.sites[PRIMARY].cluster.wait(where, "Converged", timeout=SECONDS)
    wait_degraded(world.sites[EAST].cluster, authority, "ClusterNameConflict")
    first = world.sites[WEST].cluster.request("GET", scenario.path(authority))
    assert scenario.ready(first)["status"] == "True"
    assert scenario.ready(first, "Degraded")["status"] == "False"


def test_a_join_secret_that_is_none_is_told_and_the_right_one_is_taken_up(
    world: World, invited: Callable[[str], tuple[str, JSON]]
) -> None:
    manifest, body = invited(WEST)
    cluster, authority = world.sites[WEST].cluster, body["metadata"]["name"]
    secret, configuration = (item for item in yaml.safe_load_all(manifest) if item)
    configuration["spec"]["trustBundle"] = body["spec"]["trustBundle"]
    cluster.apply(configuration)
    scenario.wait_ca(cluster, authority, "JoinSecretInvalid", kind="Reachable", timeout=SECONDS)
    cluster.apply(secret | {"stringData": {"kubeconfig": "exec: rm"}})
    scenario.wait_ca(
        cluster, authority, "JoinSecretInvalid", says="kubeconfig", kind="Reachable", timeout=SECONDS
    )
    cluster.apply(secret)
    cluster.wait(scenario.path(authority), timeout=SECONDS)


@pytest.mark.parametrize("mesh", ["restored"], indirect=True)
def test_a_primary_that_went_back_is_followed_only_once_that_is_confirmed(mesh: Mesh) -> None:
    """Its status shows a lower sequence, as after a restore; the signers and roots of here stay."""
    primary, member = mesh.primary.cluster, mesh.member
    before = secrets(member.cluster, mesh.authority)
    mesh.primary.operator.stop()
    try:
        shown = primary.request("GET", scenario.path(mesh.authority))["status"]["bundle"]["sequence"]
        older = {"status": {"bundle": {"sequence": shown - 10}}}
        where = f"{scenario.path(mesh.authority)}/status"
        primary.client(scenario.medic(primary)).request("PATCH", where, older)
        wait_degraded(member.cluster, mesh.authority, "PrimaryWentBack", str(shown - 10))
        assert secrets(member.cluster, mesh.authority) == before
        scenario.issue(member.cluster, mesh.namespace, "meanwhile", mesh.authority, renewal="Automatic")
        accept = {"metadata": {"annotations": {f"{names.GROUP}/accept-sequence": str(shown - 10)}}}
        member.cluster.request("PATCH", scenario.path(mesh.authority), accept)
        scenario.wait_ca(member.cluster, mesh.authority, "AsExpected", kind="Degraded", timeout=SECONDS)
    finally:
        mesh.primary.operator.start()
        mesh.primary.operator.wait_ready()
    old = rotation.active(primary, mesh.authority)
    rotation.begin(primary, mesh.authority, rotation={"trigger": "after the restore"})
    rotation.follow(primary, mesh.authority, old, timeout=SECONDS)
    rotation.wait_active(member.cluster, mesh.authority, old, SECONDS)
