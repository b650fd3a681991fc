"""Keys or status lost to a mistake or a restore: said, survived, healed, and never a second root."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from e2e import scenario, workload
from e2e.client import path_of
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]


def test_a_lost_root_key_stops_no_leaf_and_makes_no_root(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    cluster = installed.cluster
    name = make_ca()["metadata"]["name"]
    root = scenario.key_secret(cluster, name, "root")
    where = scenario.secret_path(root["metadata"]["name"])
    cluster.request("DELETE", where, identity=scenario.medic(cluster))
    said = scenario.wait_ca(cluster, name, "RootKeyMissing", says=root["metadata"]["name"])
    assert "put it back" in scenario.ready(said)["message"]
    assert said["status"]["bundle"]["roots"], "a root whose key is lost is trusted as before"
    scenario.issue(cluster, namespace, "without-root-key", name)
    assert list(scenario.authority(cluster, name).roots) == [said["status"]["activeRoot"]]

    cluster.request("POST", path_of(names.SECRET, scenario.SYSTEM), scenario.restored(root))
    scenario.wait_ca(cluster, name, "Initialised")
    assert scenario.key_secret(cluster, name, "root")["data"] == root["data"]


def test_a_lost_signer_is_made_anew_under_the_same_root(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    cluster = installed.cluster
    made = make_ca()
    name = made["metadata"]["name"]
    before = scenario.issue(cluster, namespace, "before", name)
    lost = scenario.key_secret(cluster, name, "signer")
    where = scenario.secret_path(lost["metadata"]["name"])
    cluster.request("DELETE", where, identity=scenario.medic(cluster))
    renewed = scenario.wait_other(
        cluster,
        scenario.path(name),
        lambda item: item["status"]["signer"]["subjectKeyID"] != made["status"]["signer"]["subjectKeyID"],
    )
    assert renewed["status"]["activeRoot"] == made["status"]["activeRoot"]
    after = scenario.issue(cluster, namespace, "after", name)
    old, new = (workload.certificates(leaf["status"]["certificateChain"])[1] for leaf in (before, after))
    assert old.public_key() != new.public_key()
    roots = scenario.bundle(cluster, namespace, made["spec"]["trustBundle"]["configMapName"])
    assert workload.openssl_verify(before["status"]["certificateChain"], roots) == "", "it is not revoked"


def test_with_root_key_and_signer_lost_requests_wait_until_the_key_is_back(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    cluster, medic = installed.cluster, scenario.medic(installed.cluster)
    name = make_ca()["metadata"]["name"]
    root, signer = (scenario.key_secret(cluster, name, role) for role in ("root", "signer"))
    cluster.request("DELETE", scenario.secret_path(root["metadata"]["name"]), identity=medic)
    scenario.wait_ca(cluster, name, "RootKeyMissing", says="signing goes on")
    cluster.request("DELETE", scenario.secret_path(signer["metadata"]["name"]), identity=medic)
    scenario.wait_ca(cluster, name, "RootKeyMissing", says="nothing can be signed")
    asked = workload.leaf(namespace, "web", caConfigurationName=name, request=workload.csr().pem)
    workload.create(cluster, asked)
    waiting = workload.wait_reason(cluster, namespace, "web", "SignerNotReady")
    assert root["metadata"]["name"] in workload.ready_message(waiting)
    assert not scenario.authority(cluster, name).secrets, "nothing is minted in the place of what is lost"

    cluster.request("POST", path_of(names.SECRET, scenario.SYSTEM), scenario.restored(root))
    workload.wait_reason(cluster, namespace, "web", "Issued")


def test_a_lost_status_costs_no_ca_certificate(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    """Backup tools drop status: the same root signs on, under the trust domain that it was made for."""
    cluster, medic = installed.cluster, scenario.medic(installed.cluster)
    made = make_ca(trustDomain=None)
    name = made["metadata"]["name"]
    csr = scenario.issue(cluster, namespace, "csr", name)
    kept = scenario.issue(cluster, namespace, "kept", name, secretName="kept-tls")
    secret = cluster.request("GET", scenario.secret_path("kept-tls", namespace))
    before = scenario.authority(cluster, name)
    mark = cluster.audit_mark()
    for where in (
        workload.path(namespace, "csr"),
        workload.path(namespace, "kept"),
        path_of(names.CA_ROOT, name=made["status"]["activeRoot"]),
        scenario.path(name),
    ):
        cluster.request("PATCH", f"{where}/status", {"status": None}, identity=medic)

    again = scenario.wait_ca(cluster, name, "Initialised")
    for field in ("activeRoot", "trustDomain", "signer"):
        assert again["status"][field] == made["status"][field]
    assert again["status"]["bundle"]["digest"] == made["status"]["bundle"]["digest"]
    assert again["status"]["bundle"]["sequence"] >= made["status"]["bundle"]["sequence"]
    assert scenario.authority(cluster, name) == before

    signed = workload.wait_reason(cluster, namespace, "csr", "Issued")
    assert signed["status"]["serialNumber"] != csr["status"]["serialNumber"]
    found = workload.wait_reason(cluster, namespace, "kept", "Issued")
    assert found["status"]["certificateChain"] == kept["status"]["certificateChain"]
    assert cluster.request("GET", scenario.secret_path("kept-tls", namespace)) == secret
    assert {kind for _, kind in scenario.writes_for(cluster, mark, name, namespace)} == {
        "caconfigurations/status",
        "caroots/status",
        "leafcertificaterequests/status",
    }
