"""Years in a moment: what is due is done at the next start, what is needed stays, what expired comes back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from e2e import scenario, workload
from e2e.client import path_of
from e2e.mesh import rotation
from e2e.rotation import history, population
from e2e.rotation.seeds import DAY, Past, Root
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.cluster import Cluster
    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
HOUR = timedelta(hours=1)


def root_path(name: str) -> str:
    return path_of(names.CA_ROOT, name=name)


def published(cluster: Cluster, namespace: str, body: JSON) -> str:
    return scenario.bundle(cluster, namespace, body["spec"]["trustBundle"]["configMapName"])


def wait_roots(cluster: Cluster, namespace: str, body: JSON, roots: int) -> str:
    """Wait until the bundle of a CA holds so many roots, which a prune does not wait for; return it."""
    where = path_of(names.CONFIG_MAP, namespace, body["spec"]["trustBundle"]["configMapName"])
    found = scenario.wait_other(
        cluster, where, lambda item: item["data"][names.BUNDLE_KEY].count("BEGIN") == roots
    )
    return str(found["data"][names.BUNDLE_KEY])


def wait_held(cluster: Cluster, root: str, says: str) -> str:
    """Wait until a CARoot says that it stays and why; return the whole text."""

    def told(item: JSON) -> bool:
        return says in scenario.ready(item).get("message", "")

    return str(scenario.ready(scenario.wait_other(cluster, root_path(root), told))["message"])


def test_130_131_what_is_past_its_time_is_pruned_at_the_next_start_unless_a_live_leaf_needs_it(
    disturbed: Installation, room: str
) -> None:
    """Two CAs whose old root was to go an hour ago; in one of them a leaf is still live."""
    cluster, operator = disturbed.cluster, disturbed.operator
    operator.stop()
    free, needed = (Past(cluster, scenario.configuration(room)) for _ in range(2))
    for past in (free, needed):
        past.seed(
            Root("", age=200 * DAY, rotated_out=31 * DAY, prunable=HOUR),
            Root("second", age=31 * DAY),
        )
        past.body["spec"]["rotation"] = {"trigger": "second"}
        cluster.apply(past.body)
        past.leaf((room, f"{past.name}-gone"), "", age=40 * DAY, ttl=9 * DAY)
    needed.leaf((room, "live"), "", age=31 * DAY + HOUR, ttl=40 * DAY)
    mark = cluster.audit_mark()
    operator.start()
    operator.wait_ready()

    scenario.wait_gone(cluster, root_path(free.roots[""]))
    assert list(scenario.authority(cluster, free.name).roots) == [free.roots["second"]]
    assert len(scenario.authority(cluster, free.name).secrets) == 2, "its key and its signer went with it"
    said = wait_held(cluster, needed.roots[""], f"{room}/live")
    assert "it is to be removed, but" in said
    assert set(scenario.authority(cluster, needed.name).roots) == set(needed.roots.values())
    certificate = rotation.certificate(cluster, needed.roots[""]).strip()
    assert certificate in published(cluster, room, needed.body)

    cluster.request("DELETE", workload.path(room, "live"))
    scenario.wait_gone(cluster, root_path(needed.roots[""]))
    for past in (free, needed):
        made = [write for write in scenario.writes_for(cluster, mark, past.name) if write[0] == "create"]
        assert made == [], "no CA certificate is made"
        assert (
            cluster.request("GET", scenario.path(past.name))["status"]["activeRoot"] == past.roots["second"]
        )
    wait_roots(cluster, room, needed.body, 1)


def test_218_with_everything_expired_one_apply_brings_the_mesh_back(
    disturbed: Installation, room: str
) -> None:
    """The root, the signer and the leaf ended a month ago; the recovery is one forced trigger."""
    cluster, operator = disturbed.cluster, disturbed.operator
    operator.stop()
    past = Past(cluster, scenario.configuration(room))
    past.seed(Root("", age=395 * DAY, life=365 * DAY))
    past.leaf((room, "web"), "", age=40 * DAY, ttl=3 * DAY, renewal="Automatic")
    operator.start()
    operator.wait_ready()
    scenario.wait_ca(cluster, past.name, "RootExpired")
    before = scenario.authority(cluster, past.name)
    assert list(before.roots) == [past.roots[""]], "nothing is minted by itself"

    past.body["spec"]["rotation"] = {"trigger": "recover", "forceWithoutCrossSigning": "recover"}
    cluster.apply(past.body)
    scenario.wait_ca(cluster, past.name, "Initialised")
    new = rotation.active(cluster, past.name)
    assert new not in past.roots.values()
    (web,) = population.wait_all(
        cluster, [(room, "web")], lambda body: population.is_issued(body) and body["status"]["root"] == new
    ).values()
    chain = web["status"]["certificateChain"]
    assert history.refused_by_openssl([(chain, published(cluster, room, past.body))]) == []
    assert len(workload.certificates(chain)) == 2, "an expired root signs no other"
    cluster.request("DELETE", scenario.path(past.name))


def test_131_a_root_is_deleted_only_when_it_is_retired_and_nobody_needs_it(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    cluster = installed.cluster
    authority = make_ca()
    name = authority["metadata"]["name"]
    old = rotation.active(cluster, name)
    refused = cluster.exchange("DELETE", root_path(old))
    assert (refused.status, "rotate to another root" in refused.body["message"]) == (403, True)
    scenario.issue(cluster, namespace, "web", name)
    rotation.begin(cluster, name)
    rotation.wait_active(cluster, name, old)
    cluster.request("DELETE", root_path(old))
    wait_held(cluster, old, f"{namespace}/web")
    cluster.request("DELETE", workload.path(namespace, "web"))
    rotation.follow(cluster, name, old)
    wait_held(cluster, old, "load the new ones")
    rotation.prune_now(cluster, old)


def test_prune_now_overrides_a_live_leaf_but_not_an_older_root_that_signed_it(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    cluster = installed.cluster
    name = make_ca()["metadata"]["name"]
    first = rotation.active(cluster, name)
    scenario.issue(cluster, namespace, "web", name)
    rotation.begin(cluster, name, rotation={"trigger": "one"})
    second = rotation.wait_active(cluster, name, first)
    rotation.begin(cluster, name, rotation={"trigger": "two"})
    third = rotation.wait_active(cluster, name, second)
    fingerprint = cluster.request("GET", root_path(second))["status"]["fingerprint"]
    notes = {"metadata": {"annotations": {names.ANNOTATION_PRUNE_NOW: fingerprint}}}
    cluster.request("PATCH", root_path(second), notes)
    assert f"root {first!r} signed it" in wait_held(cluster, second, "signed it and is trusted")

    rotation.prune_now(cluster, first)
    scenario.wait_gone(cluster, root_path(second))
    assert list(scenario.authority(cluster, name).roots) == [third]
    web = cluster.request("GET", workload.path(namespace, "web"))
    roots = wait_roots(cluster, namespace, cluster.request("GET", scenario.path(name)), 1)
    assert history.refused_by_openssl([(web["status"]["certificateChain"], roots)]) != []
