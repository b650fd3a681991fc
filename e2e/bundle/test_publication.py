"""The trust bundle: everywhere it should be, as it should be, and nothing of anybody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from e2e import roots, scenario
from e2e.client import path_of
from e2e.installation import exists
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.cluster import Cluster
    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
CLUSTER_WIDE = path_of(names.CLUSTER_TRUST_BUNDLE, name="meshca.dev:default:bundle")


def place(namespace: str, name: str = scenario.TRUST_BUNDLE) -> str:
    return path_of(names.CONFIG_MAP, namespace, name)


def root_of(cluster: Cluster, name: str = "default") -> str:
    active = cluster.request("GET", scenario.path(name))["status"]["activeRoot"]
    return str(cluster.request("GET", path_of(names.CA_ROOT, name=active))["spec"]["certificate"])


def holds(cluster: Cluster, where: str, pem: str, timeout: float = 60) -> JSON:
    """Wait until a ConfigMap holds a bundle under our label."""

    def whole(item: JSON) -> bool:
        labels = item["metadata"].get("labels", {})
        return bool(
            item.get("data", {}).get("ca.crt") == pem
            and labels.get(names.LABEL_TRUST_BUNDLE)
            and labels.get(names.LABEL_MANAGED_BY) == names.MANAGED_BY
        )

    return scenario.wait_other(cluster, where, whole, timeout)


def test_a_new_namespace_has_it_within_five_seconds(installed: Installation, namespace: str) -> None:
    cluster, name, mark = installed.cluster, f"{namespace}-new", installed.cluster.audit_mark()
    scenario.make_namespace(cluster, name)
    assert scenario.bundle(cluster, name) == root_of(cluster)
    assert scenario.bundle_delay(cluster, mark, name) < 5
    cluster.request("DELETE", path_of(names.NAMESPACE, name=name))


@pytest.mark.parametrize(
    "tamper",
    [
        pytest.param({"data": {"ca.crt": "-----BEGIN CERTIFICATE-----"}}, id="edited"),
        pytest.param({"data": None}, id="emptied"),
        pytest.param({"metadata": {"labels": {names.LABEL_TRUST_BUNDLE: None}}}, id="label-removed"),
        pytest.param({"metadata": {"labels": {names.LABEL_TRUST_BUNDLE: "another"}}}, id="label-changed"),
        pytest.param(None, id="deleted"),
    ],
)
def test_what_was_tampered_with_is_repaired(
    installed: Installation, namespace: str, tamper: JSON | None
) -> None:
    cluster = installed.cluster
    pem = scenario.bundle(cluster, namespace)
    if tamper is None:
        cluster.request("DELETE", place(namespace))
    else:
        cluster.request("PATCH", place(namespace), tamper)
    holds(cluster, place(namespace), pem)


def test_what_others_add_to_it_is_left_to_them(installed: Installation, namespace: str) -> None:
    cluster = installed.cluster
    pem = scenario.bundle(cluster, namespace)
    mark = cluster.audit_mark()
    extra = {"metadata": {"labels": {"team": "shop"}}, "data": {"readme": "trust these"}}
    cluster.request("PATCH", place(namespace), extra)
    cluster.request("PATCH", place(namespace), {"data": {"ca.crt": "broken"}})
    found = holds(cluster, place(namespace), pem)
    assert (found["metadata"]["labels"]["team"], found["data"]["readme"]) == ("shop", "trust these")
    writes = [write for write in scenario.operator_writes(cluster, mark) if write[2] == namespace]
    assert writes == [("patch", "configmaps", namespace, scenario.TRUST_BUNDLE)], "one repair, no echo"


def test_somebody_elses_config_map_is_listed_and_never_touched(
    installed: Installation, namespace: str
) -> None:
    cluster = installed.cluster
    body = scenario.configuration(namespace)
    ca, bundle = body["metadata"]["name"], body["spec"]["trustBundle"]["configMapName"]
    theirs = {"metadata": {"name": bundle}, "data": {"ca.crt": "theirs"}}
    kept = cluster.request("POST", path_of(names.CONFIG_MAP, namespace), theirs)
    cluster.apply(body)
    try:
        listed = scenario.wait_ca(cluster, ca, "NamespacesNotWritable", kind="Degraded", status="True")
        assert namespace in scenario.ready(listed, "Degraded")["message"]
        assert "rename or remove it" in scenario.ready(listed, "Degraded")["message"]
        assert listed["status"]["bundle"]["targets"] == {"total": 1, "current": 0, "behind": [namespace]}
        assert cluster.request("GET", place(namespace, bundle)) == kept

        cluster.request("DELETE", place(namespace, bundle))
        holds(cluster, place(namespace, bundle), root_of(cluster, ca))
        scenario.wait_ca(cluster, ca, "AsExpected", kind="Degraded", status="False")
    finally:
        cluster.request("DELETE", scenario.path(ca))


def test_the_selector_decides_where_it_is(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    cluster = installed.cluster
    made = make_ca()
    ca, bundle = made["metadata"]["name"], made["spec"]["trustBundle"]["configMapName"]
    pem = scenario.bundle(cluster, namespace, bundle)
    assert not exists(cluster, place("default", bundle))
    selector = {"matchLabels": {"mesh": ca, "kubernetes.io/metadata.name": None}}
    cluster.request("PATCH", scenario.path(ca), {"spec": {"trustBundle": {"namespaceSelector": selector}}})
    for name in ("default", namespace):
        cluster.request("PATCH", f"/api/v1/namespaces/{name}", {"metadata": {"labels": {"mesh": ca}}})
        holds(cluster, place(name, bundle), pem)

    cluster.request("PATCH", "/api/v1/namespaces/default", {"metadata": {"labels": {"mesh": None}}})
    one = {"total": 1, "current": 1}
    scenario.wait_other(cluster, scenario.path(ca), lambda item: item["status"]["bundle"]["targets"] == one)
    assert exists(cluster, place("default", bundle)), "trust is not taken away by a label"
    cluster.request("DELETE", place("default", bundle))


def test_a_namespace_that_left_the_selector_is_kept_up_to_date_while_its_leaves_live(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    cluster = installed.cluster
    made = make_ca()
    ca, bundle = made["metadata"]["name"], made["spec"]["trustBundle"]["configMapName"]
    scenario.issue(cluster, namespace, "web", ca)
    pem = scenario.bundle(cluster, namespace, bundle)
    nowhere = {"matchLabels": {"kubernetes.io/metadata.name": "nowhere"}}
    cluster.request("PATCH", scenario.path(ca), {"spec": {"trustBundle": {"namespaceSelector": nowhere}}})
    scenario.wait_other(
        cluster, scenario.path(ca), lambda item: item["status"].get("observedGeneration") == 2
    )
    cluster.request("PATCH", place(namespace, bundle), {"data": {"ca.crt": "broken"}})
    holds(cluster, place(namespace, bundle), pem)


@pytest.mark.parametrize(
    "tamper",
    [{"spec": {"trustBundle": None}}, {"metadata": {"labels": {names.LABEL_TRUST_BUNDLE: None}}}, {}],
)
def test_the_cluster_trust_bundle_is_there_and_repaired(installed: Installation, tamper: JSON) -> None:
    cluster = installed.cluster
    if not scenario.serves(cluster, names.CLUSTER_TRUST_BUNDLE):
        pytest.skip("this version has no ClusterTrustBundle v1")
    pem = root_of(cluster)

    def whole(item: JSON) -> bool:
        labels = item["metadata"].get("labels", {})
        return bool(item["spec"]["trustBundle"] == pem and labels.get(names.LABEL_TRUST_BUNDLE) == "default")

    found = scenario.wait_other(cluster, CLUSTER_WIDE, whole)
    assert found["spec"]["signerName"] == "meshca.dev/default"
    if "spec" in tamper:
        # Only what is made of certificates is let in, so somebody else's root it is.
        tamper = {"spec": {"trustBundle": roots.root()[0].decode()}}
    cluster.request("PATCH" if tamper else "DELETE", CLUSTER_WIDE, tamper or None)
    scenario.wait_other(cluster, CLUSTER_WIDE, whole)


def test_status_counts_every_place(installed: Installation, namespace: str) -> None:
    """Every namespace, and the ClusterTrustBundle if any; other scenarios' may come and go meanwhile."""
    cluster = installed.cluster
    cluster_wide = int(scenario.serves(cluster, names.CLUSTER_TRUST_BUNDLE))
    scenario.bundle(cluster, namespace)

    def counted(item: JSON) -> bool:
        everywhere = cluster.request("GET", path_of(names.NAMESPACE))["items"]
        active = [n for n in everywhere if "deletionTimestamp" not in n["metadata"]]
        places = len(active) + cluster_wide
        wanted = {"total": places, "current": places}
        return bool(item["status"]["bundle"]["targets"] == wanted)

    scenario.wait_other(cluster, scenario.path("default"), counted)
