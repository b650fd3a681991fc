"""Two requests for one Secret, and keys where the chart does not allow them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e import installation, scenario, workload

if TYPE_CHECKING:
    from e2e.installation import Installation

pytestmark = pytest.mark.cluster


def test_of_two_requests_for_one_secret_the_later_waits_for_the_first_to_go(
    installed: Installation, namespace: str
) -> None:
    cluster = installed.cluster
    workload.create(cluster, workload.leaf(namespace, "first", secretName="shared-tls"))
    workload.wait_reason(cluster, namespace, "first", "Issued")
    secret = cluster.request("GET", scenario.secret_path("shared-tls", namespace))
    workload.create(cluster, workload.leaf(namespace, "second", secretName="shared-tls"))
    refused = workload.wait_reason(cluster, namespace, "second", "SecretConflict")
    assert "choose another spec.secretName" in workload.ready_message(refused)
    assert cluster.request("GET", scenario.secret_path("shared-tls", namespace)) == secret

    cluster.request("DELETE", workload.path(namespace, "first"))
    # The garbage collector learns of new kinds every 30 seconds.
    healed = workload.wait_reason(cluster, namespace, "second", "Issued", timeout=120)
    after = cluster.request("GET", scenario.secret_path("shared-tls", namespace))
    assert after["metadata"]["ownerReferences"][0]["uid"] == healed["metadata"]["uid"]
    assert after["data"]["tls.key"] != secret["data"]["tls.key"]


def test_two_requests_for_one_secret_created_at_once_end_with_one_owner(
    installed: Installation, namespace: str
) -> None:
    cluster = installed.cluster
    for name in ("a", "b", "c"):
        workload.create(cluster, workload.leaf(namespace, name, secretName="shared-tls"))

    def settled(items: list[dict[str, object]]) -> list[str] | None:
        reasons = [str(scenario.ready(item).get("reason")) for item in items]
        return sorted(reasons) if len(reasons) == 3 and "None" not in reasons else None

    reasons = cluster.wait_for(settled, workload.path(namespace))
    assert reasons == ["Issued", "SecretConflict", "SecretConflict"]


def test_keys_are_kept_only_where_the_chart_says(disturbed: Installation, room: str) -> None:
    cluster = disturbed.cluster
    workload.create(cluster, workload.leaf(room, "managed", secretName="managed-tls"))
    refused = workload.wait_reason(cluster, room, "managed", "ManagedKeysNotAllowed")
    message = workload.ready_message(refused)
    assert f"'{room}'" in message
    assert "managedKeys.namespaces" in message
    assert "spec.request" in message
    assert not cluster.request("GET", f"/api/v1/namespaces/{room}/secrets")["items"]
    workload.create(cluster, workload.leaf(room, "csr", request=workload.csr().pem))
    workload.wait_reason(cluster, room, "csr", "Issued")


def test_an_upgrade_that_allows_keys_heals_who_waited_and_interrupts_nobody(
    disturbed: Installation, room: str
) -> None:
    cluster, operator = disturbed.cluster, disturbed.operator
    workload.create(cluster, workload.leaf(room, "managed", secretName="managed-tls"))
    workload.wait_reason(cluster, room, "managed", "ManagedKeysNotAllowed")
    ready = scenario.ready(cluster.request("GET", scenario.path("default")))

    def upgrade(namespaces: str) -> None:
        installation.release(cluster, scenario.STRICT_VALUES | {"managedKeys.namespaces": namespaces})
        operator.stop()
        operator.start()
        operator.wait_ready()

    upgrade(f"{{keys,{room}}}")
    workload.wait_reason(cluster, room, "managed", "Issued")
    upgrade("{keys}")
    workload.create(cluster, workload.leaf(room, "late", secretName="late-tls"))
    workload.wait_reason(cluster, room, "late", "ManagedKeysNotAllowed")
    assert scenario.ready(cluster.request("GET", scenario.path("default"))) == ready
