"""Two clusters join by what the documentation says, and workloads of all three trust each other."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from e2e import scenario, workload
from e2e.client import path_of
from e2e.federation.world import EAST, SECONDS, WEST, invite, meshca, wait_converged
from meshca.api import names
from meshca.api.v1alpha1.scalars import parse_time

if TYPE_CHECKING:
    from cryptography import x509

    from e2e.cluster import Cluster
    from e2e.federation.world import Mesh

pytestmark = [pytest.mark.cluster, pytest.mark.parametrize("mesh", ["joined"], indirect=True)]

JSON = dict[str, Any]


def to_der_key(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def ca(cluster: Cluster, mesh: Mesh) -> JSON:
    return cluster.request("GET", scenario.path(mesh.authority))


def test_045_leaves_of_every_cluster_verify_under_the_bundle_of_every_other(mesh: Mesh) -> None:
    issued = {}
    for cluster in mesh.clusters:
        scenario.issue(cluster, mesh.namespace, "csr", mesh.authority)
        scenario.issue(cluster, mesh.namespace, "managed", mesh.authority, secretName="web-tls")
        issued[cluster.name] = [
            cluster.request("GET", workload.path(mesh.namespace, name))["status"]["certificateChain"]
            for name in ("csr", "managed")
        ]
    for here, there in itertools.permutations(mesh.clusters, 2):
        bundle = scenario.bundle(there, mesh.namespace)
        for chain in issued[here.name]:
            assert workload.openssl_verify(chain, bundle) == "", (here.name, there.name)


def test_each_signer_is_of_its_own_cluster_and_its_key_stays_there(mesh: Mesh) -> None:
    signers = {}
    for cluster in mesh.clusters:
        secret = scenario.key_secret(cluster, mesh.authority, names.KEY_ROLE_SIGNER)
        signers[cluster.name] = workload.certificates(workload.secret_entry(secret, "tls.crt").decode())[0]
    assert len({one.serial_number for one in signers.values()}) == 3
    assert len({to_der_key(one) for one in signers.values()}) == 3
    root = ca(mesh.primary.cluster, mesh)["status"]["activeRoot"]
    for member in mesh.members:
        assert ca(member.cluster, mesh)["status"]["activeRoot"] == root
        found = member.cluster.request("GET", path_of(names.CA_ROOT, name=root))
        assert found["spec"]["source"] == "Mirrored"
        keys = scenario.authority(member.cluster, mesh.authority).secrets
        assert not [name for name in keys if name.startswith("meshca-root-")], "no root key left the primary"


def test_the_primary_sees_what_each_reports(mesh: Mesh) -> None:
    for member in mesh.members:
        found = wait_converged(mesh, member)
        status = found["status"]
        assert scenario.ready(found)["status"] == "True"
        assert scenario.ready(found, "Reachable")["status"] == "True"
        assert status["bundleDigest"] == ca(mesh.primary.cluster, mesh)["status"]["bundle"]["digest"]
        assert status["signerNotAfter"]
        assert status["intermediateTTL"]
    # Its exit code is about every cluster, and other scenarios have some that are silent or not asked for.
    _, said, _ = meshca(mesh.primary.cluster, "federation", "status")
    words = [row.split() for row in said.splitlines() if row.strip()]
    assert {WEST, EAST} <= {row[0] for row in words}
    assert not [row for row in words if row[0] == "WRONG" and row[1] in {f"{WEST}:", f"{EAST}:"}], said
    _, said, _ = meshca(mesh.members[0].cluster, "federation", "status", "--output", "json")
    followed = {one["configuration"]: one for one in json.loads(said)["primaries"]}
    assert (followed[mesh.authority]["reachable"], followed[mesh.authority]["sequence"] > 0) == ("yes", True)


def test_inviting_again_renews_the_token_and_disturbs_nothing(mesh: Mesh) -> None:
    member = mesh.members[0]
    before = ca(member.cluster, mesh)["status"]["signer"]
    where = path_of(names.SECRET, scenario.SYSTEM, "meshca-primary-default")
    version = member.cluster.request("GET", where)["metadata"]["resourceVersion"]
    manifest = invite(mesh.primary.cluster, member.name, "--server", member.link.url)
    assert "\nkind: CAConfiguration" not in manifest
    member.cluster.kubectl("apply", "-f", "-", input=manifest)
    fresh = member.cluster.request("GET", where)["metadata"]["resourceVersion"]
    assert fresh != version
    scenario.issue(member.cluster, mesh.namespace, "after", mesh.authority)
    status = ca(member.cluster, mesh)["status"]
    assert status["signer"] == before
    assert scenario.ready({"status": status}, "Reachable")["status"] == "True"


def test_a_leaf_of_a_secondary_ends_before_its_signer(mesh: Mesh) -> None:
    member = mesh.members[1]
    issued = scenario.issue(member.cluster, mesh.namespace, "short", mesh.authority)
    signer = parse_time(ca(member.cluster, mesh)["status"]["signer"]["notAfter"])
    status = issued["status"]
    life = parse_time(status["notAfter"]) - parse_time(status["notBefore"])
    assert parse_time(status["notAfter"]) <= signer
    assert life <= (signer - parse_time(status["notBefore"])) / 3


def test_112_a_signer_with_a_new_key_is_signed_by_the_active_root_of_the_primary(mesh: Mesh) -> None:
    member = mesh.members[1]
    where = scenario.path(mesh.authority)
    before = ca(member.cluster, mesh)["status"]
    algorithm = {"algorithm": "ECDSA", "size": 384}
    member.cluster.request("PATCH", where, {"spec": {"privateKey": algorithm}})
    after = scenario.wait_other(
        member.cluster,
        where,
        lambda item: item["status"]["signer"]["subjectKeyID"] != before["signer"]["subjectKeyID"],
        SECONDS,
    )
    assert after["status"]["activeRoot"] == before["activeRoot"]
    issued = scenario.issue(member.cluster, mesh.namespace, "renewed", mesh.authority)
    chain = issued["status"]["certificateChain"]
    assert workload.certificates(chain)[1].public_key().key_size == 384  # type: ignore[union-attr]
    assert workload.openssl_verify(chain, scenario.bundle(mesh.primary.cluster, mesh.namespace)) == ""
    root = mesh.primary.cluster.request("GET", path_of(names.CA_ROOT, name=before["activeRoot"]))
    assert workload.openssl_verify(chain, root["spec"]["certificate"]) == ""
