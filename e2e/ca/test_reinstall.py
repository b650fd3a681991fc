"""Uninstalled and installed again: the same root, no new CA certificate, and leaves that never noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e import installation, scenario, workload
from e2e.installation import exists

if TYPE_CHECKING:
    from e2e.installation import Installation

pytestmark = pytest.mark.cluster


def test_installing_again_finds_the_same_ca_and_makes_no_certificate(
    disturbed: Installation, room: str
) -> None:
    cluster = disturbed.cluster
    workload.create(cluster, workload.leaf("keys", room, secretName=f"{room}-tls"))
    workload.create(cluster, workload.leaf(room, "csr", request=workload.csr().pem))
    before = {
        place: workload.wait_reason(cluster, *place, "Issued") for place in (("keys", room), (room, "csr"))
    }
    ca = scenario.authority(cluster, "default")
    roots = scenario.bundle(cluster, room)
    mark = cluster.audit_mark()

    installation.uninstall(disturbed)
    assert not exists(cluster, f"/api/v1/namespaces/{scenario.SYSTEM}/serviceaccounts/meshca")
    assert scenario.bundle(cluster, room) == roots
    assert scenario.authority(cluster, "default") == ca
    cluster.wait(scenario.path("default"))
    workload.create(cluster, workload.leaf(room, "meanwhile", request=workload.csr().pem))

    installation.release(cluster, scenario.STRICT_VALUES)
    disturbed.operator.start()
    disturbed.operator.wait_ready()
    # It was Ready all along by its status; the policies are new, so for a while it is not.
    scenario.wait_ca(cluster, "default", "Pending", says="taking effect", status="False")
    refused = workload.wait_reason(cluster, room, "meanwhile", "PolicyGap")
    assert "delete it and create it again" in workload.ready_message(refused)
    again = cluster.wait(scenario.path("default"))
    assert again["status"]["activeRoot"] in ca.roots
    assert scenario.authority(cluster, "default") == ca
    for (namespace, name), body in before.items():
        after = cluster.request("GET", workload.path(namespace, name))
        assert after["metadata"]["resourceVersion"] == body["metadata"]["resourceVersion"]
    workload.create(cluster, workload.leaf(room, "afterwards", request=workload.csr().pem))
    issued = workload.wait_reason(cluster, room, "afterwards", "Issued")
    assert workload.openssl_verify(issued["status"]["certificateChain"], roots) == ""
    made = {(verb, kind) for verb, kind, *_ in scenario.operator_writes(cluster, mark)}
    assert made <= {
        ("update", "caconfigurations/status"),
        ("patch", "configmaps"),
        ("patch", "leafcertificaterequests/status"),
        ("update", "leafcertificaterequests/status"),
    }
