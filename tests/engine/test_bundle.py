"""The bundle in every place: new namespaces, tampering, foreign objects, selectors, ClusterTrustBundle."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from meshca.api import names
from meshca.engine.work import Urgency
from tests.fakes.apiserver import status as api
from tests.fakes.engine import OPERATOR, Cluster, ready, with_cluster

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.looptime

NAME = "meshca-trust-bundle"
JSON = dict[str, Any]


def bundle(cluster: Cluster, namespace: str, name: str = NAME) -> JSON | None:
    return cluster.server.find(names.CONFIG_MAP, name, namespace)


def roots(cluster: Cluster) -> str:
    [root] = cluster.server.all(names.CA_ROOT)
    return str(root["spec"]["certificate"])


def holds(cluster: Cluster, namespace: str) -> bool:
    return bool((bundle(cluster, namespace) or {}).get("data", {}).get("ca.crt") == roots(cluster))


def targets(cluster: Cluster) -> JSON:
    found = cluster.server.find(names.CA_CONFIGURATION, "default") or {}
    return dict(found["status"]["bundle"]["targets"])


@with_cluster
async def test_bundle_is_in_every_namespace_and_in_the_cluster_trust_bundle(cluster: Cluster) -> None:
    for namespace in ("default", "kube-system", "meshca-system", "shop"):
        assert holds(cluster, namespace)
    found = cluster.server.find(names.CLUSTER_TRUST_BUNDLE, "meshca.dev:default:bundle")
    assert found is not None
    assert found["spec"] == {"signerName": "meshca.dev/default", "trustBundle": roots(cluster)}
    assert targets(cluster) == {"total": 5, "current": 5}


@with_cluster
async def test_new_namespace_gets_the_bundle_within_seconds_with_one_write(cluster: Cluster) -> None:
    cluster.server.create(names.NAMESPACE, {"metadata": {"name": "new"}})
    await cluster.until(lambda: holds(cluster, "new"), 5)
    await asyncio.sleep(5)
    assert targets(cluster) == {"total": 6, "current": 6}
    assert [kind for _, kind, _, _ in cluster.written()] == ["ConfigMap", "CAConfiguration/status"]


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param({"data": {"ca.crt": "nothing"}}, id="changed"),
        pytest.param({"data": {"ca.crt": None}}, id="emptied"),
        pytest.param({"metadata": {"labels": {names.LABEL_TRUST_BUNDLE: None}}}, id="label removed"),
        pytest.param(
            {"metadata": {"labels": {names.LABEL_TRUST_BUNDLE: None}}, "data": {"ca.crt": "x"}}, id="both"
        ),
    ],
)
@with_cluster
async def test_tampered_bundle_is_repaired_and_foreign_entries_stay(cluster: Cluster, edit: JSON) -> None:
    cluster.server.merge(names.CONFIG_MAP, NAME, "shop", {"data": {"theirs": "kept"}})
    await asyncio.sleep(2)
    cluster.written()
    cluster.server.merge(names.CONFIG_MAP, NAME, "shop", edit)
    await cluster.until(lambda: holds(cluster, "shop"), 5)
    await asyncio.sleep(2)
    found = bundle(cluster, "shop")
    assert found is not None
    assert found["data"]["theirs"] == "kept"
    assert found["metadata"]["labels"][names.LABEL_TRUST_BUNDLE] == "default"
    assert [kind for _, kind, _, _ in cluster.written()] == ["ConfigMap"]


@pytest.mark.parametrize("kind", [names.CONFIG_MAP, names.CLUSTER_TRUST_BUNDLE], ids=lambda kind: kind.kind)
@with_cluster
async def test_deleted_bundle_comes_back(cluster: Cluster, kind: names.Resource) -> None:
    place = (NAME, "shop") if kind == names.CONFIG_MAP else ("meshca.dev:default:bundle", "")
    cluster.server.delete(kind, *place)
    await cluster.until(lambda: cluster.server.find(kind, *place), 5)


@with_cluster
async def test_changed_cluster_trust_bundle_is_repaired(cluster: Cluster) -> None:
    other = roots(cluster) + roots(cluster)
    name = "meshca.dev:default:bundle"
    cluster.server.merge(names.CLUSTER_TRUST_BUNDLE, name, "", {"spec": {"trustBundle": other}})
    await asyncio.sleep(5)
    found = cluster.server.find(names.CLUSTER_TRUST_BUNDLE, name)
    assert found is not None
    assert found["spec"]["trustBundle"] == roots(cluster)


async def test_foreign_configmap_is_listed_and_left_alone_until_it_goes() -> None:
    cluster = Cluster()
    cluster.policy()
    theirs = cluster.server.create(
        names.CONFIG_MAP, {"metadata": {"name": NAME, "namespace": "shop"}, "data": {"ca.crt": "theirs"}}
    )
    cluster.configure()
    await asyncio.sleep(60)
    async with cluster.operator():
        await cluster.until(lambda: cluster.condition("Degraded")[1] == "NamespacesNotWritable")
        assert "shop: an object of that name exists" in cluster.condition("Degraded")[2]
        await asyncio.sleep(700)
        assert bundle(cluster, "shop") == theirs
        assert targets(cluster) == {"total": 5, "current": 4, "behind": ["shop"]}
        cluster.written()
        await asyncio.sleep(3600)
        assert cluster.written() == []
    async with cluster.operator():
        await asyncio.sleep(60)
        assert cluster.written() == []
        cluster.server.delete(names.CONFIG_MAP, NAME, "shop")
        await cluster.until(lambda: holds(cluster, "shop"), 5)
        await cluster.until(lambda: cluster.condition("Degraded")[0] == "False", 5)


@with_cluster
async def test_namespace_that_refuses_is_listed_and_tried_again(cluster: Cluster) -> None:
    fault = cluster.server.fault(
        writes_only=True,
        resource=names.CONFIG_MAP,
        user=OPERATOR,
        times=None,
        error=api.ApiError(403, "Forbidden", "configmaps is forbidden: exceeded quota: q"),
    )
    cluster.server.create(names.NAMESPACE, {"metadata": {"name": "full"}})
    await cluster.until(lambda: "full: " in cluster.condition("Degraded")[2], 10)
    fault.times = 0
    await cluster.until(lambda: holds(cluster, "full"), 60)
    await cluster.until(lambda: cluster.condition("Degraded")[0] == "False", 10)


@with_cluster
async def test_namespace_where_writes_fail_is_named_after_a_minute_and_until_they_do_not(
    cluster: Cluster,
) -> None:
    cluster.server.create(names.NAMESPACE, {"metadata": {"name": "broken"}})
    errors = (api.ApiError(500, "InternalError", f"webhook failed, attempt {n}") for n in count())

    def another(_info: object) -> None:
        fault.error = next(errors)

    fault = cluster.server.fault(
        writes_only=True,
        resource=names.CONFIG_MAP,
        namespace="broken",
        user=OPERATOR,
        times=None,
        before=another,
    )
    await asyncio.sleep(50)
    assert cluster.condition("Degraded")[0] == "False", "it may pass"
    await cluster.until(lambda: "broken: " in cluster.condition("Degraded")[2], 120)
    assert targets(cluster) == {"total": 6, "current": 5, "behind": ["broken"]}
    await asyncio.sleep(5)
    cluster.written()
    await asyncio.sleep(3600)
    assert {kind for _, kind, _, _ in cluster.written()} == {"ConfigMap"}, "it is said once"
    fault.times = 0
    await cluster.until(lambda: holds(cluster, "broken"), 300)
    await cluster.until(lambda: cluster.condition("Degraded")[0] == "False", 5)


@with_cluster
async def test_places_are_not_told_of_while_the_api_server_answers_nobody(cluster: Cluster) -> None:
    told: list[str] = []
    cluster.server.store.listeners.append(lambda _: told.append(cluster.condition("Degraded")[1]))
    fault = cluster.server.fault(
        user=OPERATOR, times=None, error=api.ApiError(503, "ServiceUnavailable", "later")
    )
    cluster.server.create(names.NAMESPACE, {"metadata": {"name": "new"}})
    await asyncio.sleep(600)
    assert cluster.engine is not None
    assert cluster.engine.authorities.board("default").refused == {}
    fault.times = 0
    # Somebody has the configuration looked at while the place still waits for its next attempt.
    edit: JSON = {"spec": {"limits": {"csrMaxPerSecond": 7}}}
    cluster.server.merge(names.CA_CONFIGURATION, "default", "", edit)
    await cluster.until(lambda: holds(cluster, "new"), 400)
    await cluster.until(lambda: targets(cluster) == {"total": 6, "current": 6}, 400)
    assert set(told) == {"AsExpected"}


@with_cluster
async def test_namespace_being_deleted_is_no_place_any_more(cluster: Cluster) -> None:
    cluster.server.controllers.delay = 30.0
    cluster.server.delete(names.NAMESPACE, "shop")
    await asyncio.sleep(10)
    assert targets(cluster) == {"total": 4, "current": 4}
    await asyncio.sleep(60)
    assert bundle(cluster, "shop") is None
    assert cluster.condition("Degraded")[0] == "False"
    kinds = [kind for _, kind, _, code in cluster.written() if code < 300]
    assert kinds == ["CAConfiguration/status"]


async def test_only_selected_namespaces_and_those_with_live_leaves_are_kept_up_to_date() -> None:
    selector = {"namespaceSelector": {"matchLabels": {"mesh": "yes"}}}
    async with ready(trustBundle=selector) as cluster:
        assert bundle(cluster, "shop") is None
        assert targets(cluster) == {"total": 1, "current": 1}
        mesh: JSON = {"metadata": {"labels": {"mesh": "yes"}}}
        for name in ("shop", "default"):
            cluster.server.merge(names.NAMESPACE, name, "", mesh)
        await cluster.until(lambda: holds(cluster, "shop") and holds(cluster, "default"), 5)
        cluster.leaf()
        await cluster.until_said("Issued")
        out: JSON = {"metadata": {"labels": {"mesh": None}}}
        for name in ("shop", "default"):
            cluster.server.merge(names.NAMESPACE, name, "", out)
        await asyncio.sleep(5)
        assert targets(cluster) == {"total": 2, "current": 2}
        for name in ("shop", "default"):
            cluster.server.merge(names.CONFIG_MAP, NAME, name, {"data": {"ca.crt": "tampered"}})
        await asyncio.sleep(5)
        assert holds(cluster, "shop")
        assert not holds(cluster, "default")
    cluster.written()
    async with cluster.operator():
        await asyncio.sleep(30)
        assert cluster.written() == [], "I6: a new leader knows of the live leaves, too"
        cluster.server.merge(names.CONFIG_MAP, NAME, "shop", {"data": {"ca.crt": "tampered"}})
    async with cluster.operator():
        await cluster.until(lambda: holds(cluster, "shop"), 30)
        await asyncio.sleep(5)
        assert targets(cluster) == {"total": 2, "current": 2}
        assert not holds(cluster, "default")


async def test_a_namespace_that_left_is_kept_up_to_date_from_its_first_leaf_to_its_last() -> None:
    selector = {"namespaceSelector": {"matchLabels": {"mesh": "yes"}}}
    async with ready(trustBundle=selector) as cluster:
        for labels in ({"mesh": "yes"}, {"mesh": None}):
            cluster.server.merge(names.NAMESPACE, "shop", "", {"metadata": {"labels": labels}})
            await asyncio.sleep(5)
        assert targets(cluster) == {"total": 1, "current": 1}
        cluster.server.merge(names.CONFIG_MAP, NAME, "shop", {"data": {"ca.crt": "tampered"}})
        await asyncio.sleep(5)
        assert not holds(cluster, "shop"), "nobody is owed it"
        cluster.leaf()
        await cluster.until(lambda: holds(cluster, "shop"), 5)
        await asyncio.sleep(5)
        assert targets(cluster) == {"total": 2, "current": 2}
        cluster.server.delete(names.LEAF, "web", "shop")
        await asyncio.sleep(5)
        assert targets(cluster) == {"total": 1, "current": 1}
    cluster.written()
    async with cluster.operator():
        await asyncio.sleep(30)
        assert cluster.written() == [], "I6"


async def test_cluster_trust_bundle_can_be_switched_off() -> None:
    async with ready(trustBundle={"clusterTrustBundle": False}) as cluster:
        assert cluster.server.all(names.CLUSTER_TRUST_BUNDLE) == []
        assert targets(cluster) == {"total": 4, "current": 4}


async def test_api_server_without_cluster_trust_bundles_gets_configmaps_only() -> None:
    cluster = Cluster()
    del cluster.server.kinds[names.CLUSTER_TRUST_BUNDLE]
    cluster.policy()
    cluster.configure()
    async with cluster.operator():
        await cluster.until_ready()
        await asyncio.sleep(5)
        assert targets(cluster) == {"total": 4, "current": 4}
        assert cluster.condition("Degraded")[0] == "False"


@pytest.mark.parametrize("how", [{"lose_answer": True}, {"late": 2.0}, {"unreachable": True}], ids=str)
@with_cluster
async def test_bundle_write_without_an_answer_is_looked_after(cluster: Cluster, how: JSON) -> None:
    fault = cluster.server.fault(writes_only=True, resource=names.CONFIG_MAP, user=OPERATOR, **how)
    cluster.server.create(names.NAMESPACE, {"metadata": {"name": "new"}})
    await cluster.until(lambda: holds(cluster, "new"), 20)
    assert fault.hits == 1
    await asyncio.sleep(20)
    assert targets(cluster) == {"total": 6, "current": 6}


TAMPER: dict[str, Callable[[Cluster, str], object]] = {
    "deleted": lambda cluster, place: cluster.server.delete(names.CONFIG_MAP, NAME, place),
    "changed": lambda cluster, place: cluster.server.merge(
        names.CONFIG_MAP, NAME, place, {"data": {"ca.crt": "tampered"}}
    ),
}


def meddle(cluster: Cluster, call: str, what: str, patch: pytest.MonkeyPatch) -> list[str]:
    """Have the watch tell what somebody did in ``new`` just before a call about bundles is answered."""
    assert cluster.engine is not None
    gateway, intake = cluster.engine.publisher._cluster, cluster.engine.intake
    real = getattr(gateway, call)
    acted: list[str] = []

    async def slow(resource: names.Resource, *rest: Any, **more: Any) -> Any:
        answer = await real(resource, *rest, **more)
        if resource == names.CONFIG_MAP and not acted:
            acted.append(what)
            before = bundle(cluster, "new")
            cluster.server.silence_watches(names.CONFIG_MAP)
            TAMPER[what](cluster, "new")
            after = bundle(cluster, "new")
            intake.bundle("MODIFIED" if after else "DELETED", after or before or {})
        return answer

    patch.setattr(gateway, call, slow)
    return acted


@pytest.mark.parametrize("what", TAMPER)
@with_cluster
async def test_what_happens_to_a_bundle_before_the_answer_to_its_write_has_come_is_mended(
    cluster: Cluster, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    acted = meddle(cluster, "apply", what, monkeypatch)
    cluster.server.create(names.NAMESPACE, {"metadata": {"name": "new"}})
    await asyncio.sleep(10)
    assert acted
    assert holds(cluster, "new")
    assert targets(cluster) == {"total": 6, "current": 6}
    assert [kind for _, kind, _, _ in cluster.written()].count("ConfigMap") == 2


@pytest.mark.parametrize("what", TAMPER)
async def test_what_happens_to_a_bundle_while_all_are_listed_is_mended(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ready(trustBundle={"clusterTrustBundle": False}) as cluster:
        assert cluster.engine is not None
        cluster.server.create(names.NAMESPACE, {"metadata": {"name": "new"}})
        await asyncio.sleep(5)
        acted = meddle(cluster, "list", what, monkeypatch)
        await cluster.engine.lookout.read_back("default")
        await asyncio.sleep(10)
        assert acted
        assert holds(cluster, "new")


@with_cluster
async def test_a_bundle_that_the_watch_does_not_show_as_removed_is_written_when_all_are_listed(
    cluster: Cluster,
) -> None:
    assert cluster.engine is not None
    cluster.server.silence_watches(names.CONFIG_MAP)
    cluster.server.delete(names.CONFIG_MAP, NAME, "shop")
    await cluster.engine.lookout.read_back("default")
    await cluster.until(lambda: holds(cluster, "shop"), 5)


@with_cluster
async def test_a_bundle_that_changes_everywhere_is_spread_behind_what_is_urgent(cluster: Cluster) -> None:
    engine = cluster.engine
    assert engine is not None
    wish = engine.authorities.bundles["default"]
    engine.intake.bundle_wish(replace(wish, digest="another"))
    depth = engine.queue.depth()
    assert (depth[Urgency.CONTROL], depth[Urgency.SPREAD]) == (0, len(engine.store.namespaces) + 1)
