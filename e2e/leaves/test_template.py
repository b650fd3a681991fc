"""A template of names that changes under leaves that exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from e2e import scenario, workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
PAST = "2026-01-01T00:00:00Z"
TEMPLATE = "/dc/{clusterName}/ns/{namespace}/sa/{serviceAccount}"


def test_a_changed_template_is_told_until_the_leaves_have_their_new_names(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    cluster = installed.cluster
    ca = make_ca()
    name, domain = ca["metadata"]["name"], ca["spec"]["trustDomain"]
    old, new = (f"spiffe://{domain}{path}ns/{namespace}/sa/default" for path in ("/", "/dc/blue/"))
    for leaf, uris in (("free", []), ("bound", [old])):
        request = {"request": workload.csr(uris=uris).pem, "renewal": "Automatic"}
        workload.create(cluster, workload.leaf(namespace, leaf, caConfigurationName=name, **request))
        assert workload.wait_reason(cluster, namespace, leaf, "Issued")["status"]["spiffeID"] == old

    changed = {"clusterName": "blue", "identity": {"pathTemplate": TEMPLATE}}
    cluster.request("PATCH", scenario.path(name), {"spec": changed})
    both = f" 2 ({namespace}/bound, {namespace}/free);"
    told = scenario.wait_ca(
        cluster, name, "IdentityTemplateChanged", says=both, kind="Degraded", status="True"
    )
    assert scenario.ready(told)["status"] == "True", "it goes on issuing"

    for leaf in ("free", "bound"):
        where = f"{workload.path(namespace, leaf)}/status"
        cluster.request("PATCH", where, {"status": {"renewAt": PAST}}, identity=scenario.medic(cluster))
    scenario.wait_other(
        cluster, workload.path(namespace, "free"), lambda item: item["status"]["spiffeID"] == new
    )
    refused = workload.wait_reason(cluster, namespace, "bound", "Denied")
    assert (refused["status"]["state"], refused["status"]["spiffeID"]) == ("Renew", old)
    scenario.wait_ca(cluster, name, "IdentityTemplateChanged", kind="Degraded", says=" 1 (")
    cluster.request("DELETE", workload.path(namespace, "bound"))
    scenario.wait_ca(cluster, name, "AsExpected", kind="Degraded")
