"""A registration is deleted and nothing else: its account stays, so the primary answers and does not sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e import scenario
from e2e.client import path_of
from e2e.federation import crossing
from e2e.federation.world import SECONDS, meshca, registration, wait_converged
from meshca.api import names

if TYPE_CHECKING:
    from e2e.federation.world import Mesh

pytestmark = [pytest.mark.cluster, pytest.mark.parametrize("mesh", ["forgotten"], indirect=True)]


def test_123_a_cluster_whose_registration_is_gone_says_so_issues_on_and_comes_back_with_it(
    mesh: Mesh,
) -> None:
    primary, member = mesh.primary.cluster, mesh.member
    wait_converged(mesh, member)
    where = path_of(names.FEDERATED_CLUSTER, name=member.name)
    registered = scenario.restored(registration(mesh, member))
    signer = scenario.key_secret(member.cluster, mesh.authority, names.KEY_ROLE_SIGNER)
    primary.request("DELETE", where)
    scenario.wait_event(primary, member.name, "ClusterUnregistered")

    told = scenario.wait_ca(
        member.cluster,
        mesh.authority,
        "NotRegistered",
        says=f"no FederatedCluster {member.name!r}",
        kind="Degraded",
        timeout=SECONDS,
    )
    assert scenario.ready(told)["status"] == "True"
    assert scenario.ready(told, "Reachable")["reason"] == "Connected", "its account is as good as ever"
    scenario.wait_event(member.cluster, mesh.authority, "NotRegistered")
    code, said, _ = meshca(member.cluster, "federation", "status")
    assert (code, "NotRegistered" in said) == (1, True), said
    scenario.issue(member.cluster, mesh.namespace, "meanwhile", mesh.authority, renewal="Automatic")
    kept = scenario.key_secret(member.cluster, mesh.authority, names.KEY_ROLE_SIGNER)
    assert kept["metadata"]["uid"] == signer["metadata"]["uid"]

    primary.request("POST", path_of(names.FEDERATED_CLUSTER), registered)
    scenario.wait_ca(member.cluster, mesh.authority, "AsExpected", kind="Degraded", timeout=SECONDS)
    scenario.wait_event(member.cluster, mesh.authority, "Registered")
    wait_converged(mesh, member)
    # It is asked for a signer under the new root, and grants it.
    turned = crossing.turn(mesh, "registered again")
    assert turned.new != turned.old
    scenario.issue(member.cluster, mesh.namespace, "again", mesh.authority, renewal="Automatic")
