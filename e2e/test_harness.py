"""The harness proves itself: what scenarios rely on is really so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from e2e.cluster import Cluster


def test_the_audit_log_names_user_and_verb_of_a_write(cluster: Cluster, namespace: str) -> None:
    mark = cluster.audit_mark()
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    cluster.request("POST", path, {"metadata": {"name": "written"}})
    cluster.request("GET", f"{path}/written")
    found = [
        (event.user, event.verb, event.resource, event.name, event.code)
        for event in cluster.audit(mark)
        if event.name == "written"
    ]
    assert found == [("admin", "create", "configmaps", "written", 201)]
