"""``meshca verify``: what is read of a cluster, and that a finding needs two looks."""

from __future__ import annotations

import pytest

from meshca.api import names
from meshca.cli import verify
from meshca.pki.certificates import to_pem
from tests.fakes.apiserver.faults import Fault
from tests.fakes.cli import Mesh


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "SECOND_LOOK_SECONDS", 0.0)


def test_a_healthy_mesh_has_no_findings() -> None:
    code, out, _ = Mesh().healthy().run("verify")
    assert (code, out) == (
        0,
        "default: ok, checked 1 roots, 2 places with 1 different bundles, 1 live leaves of 1\n",
    )


def test_findings_are_lines_for_people_and_json_for_programs() -> None:
    mesh = Mesh().healthy()
    mesh.leaf("lost", to_pem(mesh.b.leaf(), mesh.b.signer))
    code, out, _ = mesh.run("verify", "default")
    assert code == 1
    assert "I2 leaf shop/lost: its signer is under no root of this CA" in out
    code, found = mesh.json("verify")
    assert (code, found["ok"], found["configurations"][0]["checked"]["live"]) == (1, False, 2)
    assert {finding["subject"] for finding in found["configurations"][0]["findings"]} == {"shop/lost"}


def test_missing_bundles_are_found_where_they_should_be_and_only_there() -> None:
    mesh = Mesh()
    mesh.configure()
    mesh.root("default-a", mesh.a)
    _, found = mesh.json("verify")
    texts = [finding["text"] for finding in found["configurations"][0]["findings"]]
    assert texts == [
        "shop: ConfigMap meshca-trust-bundle is missing there",
        "ClusterTrustBundle meshca.dev:default:bundle: it is missing",
    ]


def test_a_namespace_outside_the_selector_is_still_checked_while_it_has_our_bundle() -> None:
    mesh = Mesh().healthy()
    mesh.server.create(names.NAMESPACE, {"metadata": {"name": "left"}})
    mesh.publish(mesh.b, namespace="left")
    code, out, _ = mesh.run("verify")
    assert code == 1
    assert "I9 bundle of left trusts" in out


def test_an_api_server_without_cluster_trust_bundles_is_fine() -> None:
    mesh = Mesh().healthy()
    del mesh.server.kinds[names.CLUSTER_TRUST_BUNDLE]
    assert mesh.run("verify")[0] == 0
    spec = {"trustBundle": {"clusterTrustBundle": False}}
    mesh = Mesh().healthy()
    mesh.server.delete(names.CLUSTER_TRUST_BUNDLE, names.cluster_trust_bundle("default"))
    mesh.server.merge(names.CA_CONFIGURATION, "default", "", {"spec": spec})
    assert mesh.run("verify")[0] == 0


def test_a_root_that_cannot_be_read_is_a_finding() -> None:
    mesh = Mesh().healthy()
    spec = {"caConfigurationName": "default", "certificate": "rubbish", "source": "Imported"}
    mesh.server.create(names.CA_ROOT, {"metadata": {"name": "default-x"}, "spec": spec})
    code, out, _ = mesh.run("verify")
    assert (code, "default-x: its certificate cannot be read" in out) == (1, True)


def test_what_a_second_look_does_not_find_again_was_only_in_passing() -> None:
    mesh = Mesh()
    mesh.configure()
    mesh.root("default-a", mesh.a)
    mesh.publish(mesh.a)
    looks = 0

    def publish_late(_info: object) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            mesh.publish_cluster(mesh.a)

    mesh.server.faults.append(
        Fault(resource=names.CLUSTER_TRUST_BUNDLE, verb="get", before=publish_late, times=2)
    )
    assert mesh.run("verify")[0] == 0
    assert looks == 2


def test_more_findings_than_are_listed_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshca.cli.verification.MOST_FINDINGS", 2)
    mesh = Mesh().healthy()
    for number in range(3):
        mesh.leaf(f"lost-{number}", "rubbish")
    assert "and 1 more" in mesh.run("verify")[1]


def test_a_person_without_rights_is_told_which() -> None:
    mesh = Mesh().healthy()
    mesh.server.authorize = lambda info: "no" if info.resource == names.CONFIG_MAP else None
    code, _, errors = mesh.run("verify")
    assert (code, "list configmaps" in errors) == (2, True)
