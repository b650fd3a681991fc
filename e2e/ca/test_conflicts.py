"""Configurations that cannot be: claims of another CA, and changes that only the operator can refuse."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from e2e import scenario, workload
from e2e.installation import exists

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.cluster import Cluster
    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]


@pytest.mark.parametrize(
    ("claim", "reason"), [("trustDomain", "TrustDomainConflict"), ("trustBundle", "BundleConflict")]
)
def test_who_came_later_writes_nothing(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON], claim: str, reason: str
) -> None:
    cluster = installed.cluster
    first = make_ca()
    later = scenario.configuration(namespace, **{claim: first["spec"][claim]})
    name = later["metadata"]["name"]
    mark = cluster.audit_mark()
    cluster.apply(later)
    try:
        said = scenario.wait_ca(cluster, name, reason, says=f"CAConfiguration '{first['metadata']['name']}'")
        assert f"choose another spec.{claim}" in scenario.ready(said)["message"]
        asked = workload.leaf(namespace, "web", caConfigurationName=name, request=workload.csr().pem)
        workload.create(cluster, asked)
        waiting = workload.wait_reason(cluster, namespace, "web", "SignerNotReady")
        assert first["metadata"]["name"] in workload.ready_message(waiting)
        assert {kind for _, kind in scenario.writes_for(cluster, mark, name, namespace)} == {
            "caconfigurations/status",
            "leafcertificaterequests/status",
        }
        assert scenario.authority(cluster, name) == scenario.Authority({}, {})
        scenario.issue(cluster, namespace, "of-the-first", first["metadata"]["name"])
    finally:
        cluster.request("DELETE", scenario.path(name))


def test_a_trust_domain_is_free_again_once_its_owner_is_deleted(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    cluster = installed.cluster
    first = make_ca()
    later = scenario.configuration(namespace, trustDomain=first["spec"]["trustDomain"])
    cluster.apply(later)
    try:
        scenario.wait_ca(cluster, later["metadata"]["name"], "TrustDomainConflict")
        cluster.request("DELETE", scenario.path(first["metadata"]["name"]))
        scenario.wait_ca(cluster, later["metadata"]["name"], "Initialised")
    finally:
        cluster.request("DELETE", scenario.path(later["metadata"]["name"]))


def test_an_invalid_change_leaves_the_last_good_configuration_in_force(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    cluster = installed.cluster
    made = make_ca(leaf={"ttl": "2h"})
    name, domain = made["metadata"]["name"], made["spec"]["trustDomain"]
    change = {"provider": {"builtin": {"rootSecretName": "forgotten"}}, "leaf": {"ttl": "5h"}}
    cluster.request("PATCH", scenario.path(name), {"spec": change})
    said = scenario.wait_ca(cluster, name, "InvalidConfiguration", says="Secret 'forgotten'")
    assert said["status"]["activeRoot"] == made["status"]["activeRoot"]
    assert said["status"]["trustDomain"] == domain
    issued = scenario.issue(cluster, namespace, "meanwhile", name)
    leaf = workload.certificates(issued["status"]["certificateChain"])[0]
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc < timedelta(hours=3), "spec.leaf too"

    cluster.request("PATCH", scenario.path(name), {"spec": {"provider": None}})
    scenario.wait_ca(cluster, name, "Initialised")
    issued = scenario.issue(cluster, namespace, "afterwards", name)
    leaf = workload.certificates(issued["status"]["certificateChain"])[0]
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc > timedelta(hours=5)


def ask_until_refused(cluster: Cluster, namespace: str, ca: str) -> str:
    """Create requests until one is not issued, for the operator hears of a deletion a moment later."""
    for number in range(50):
        name = f"late-{number}"
        asked = workload.leaf(namespace, name, caConfigurationName=ca, request=workload.csr().pem)
        workload.create(cluster, asked)
        answer = scenario.wait_other(
            cluster, workload.path(namespace, name), lambda item: bool(scenario.ready(item))
        )
        if scenario.ready(answer)["status"] == "False":
            return name
    raise AssertionError("issuing goes on without the configuration")


def test_deleting_a_configuration_stops_issuing_and_keeps_root_keys_and_bundle(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    cluster = installed.cluster
    made = make_ca(trustDomain=None)
    name, bundle = made["metadata"]["name"], made["spec"]["trustBundle"]["configMapName"]
    kept = scenario.issue(cluster, namespace, "kept", name, secretName="kept-tls")
    roots, before = scenario.bundle(cluster, namespace, bundle), scenario.authority(cluster, name)

    cluster.request("DELETE", scenario.path(name))
    scenario.wait_gone(cluster, scenario.path(name))
    late = ask_until_refused(cluster, namespace, name)
    waiting = workload.wait_reason(cluster, namespace, late, "ConfigurationNotFound")
    assert f"CAConfiguration '{name}' does not exist; create it" in workload.ready_message(waiting)
    assert scenario.authority(cluster, name) == before
    assert scenario.bundle(cluster, namespace, bundle) == roots
    assert exists(cluster, scenario.secret_path("kept-tls", namespace))

    cluster.apply(scenario.restored(made))
    again = scenario.wait_ca(cluster, name, "Initialised")
    assert again["metadata"]["uid"] != made["metadata"]["uid"]
    for field in ("activeRoot", "trustDomain", "signer"):
        assert again["status"][field] == made["status"][field], "not a trust domain after the new uid"
    assert scenario.authority(cluster, name) == before
    issued = workload.wait_reason(cluster, namespace, late, "Issued")
    assert workload.openssl_verify(issued["status"]["certificateChain"], roots) == ""
    after = cluster.request("GET", workload.path(namespace, "kept"))
    assert after["status"]["certificateChain"] == kept["status"]["certificateChain"]
