"""One item that fails stops no other, and what cannot be told or is not known yet does no harm."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from meshca.api import names
from meshca.engine.configurations import ConfigurationReconciler
from meshca.engine.intake import bundle_key, configuration_key, leaf_key
from meshca.engine.work import Urgency
from meshca.errors import ForbiddenError, TransientError
from tests.fakes.apiserver import status as api
from tests.fakes.engine import NAMESPACE, OPERATOR, Cluster, ready, with_cluster

if TYPE_CHECKING:
    from datetime import datetime

    from meshca.engine.outcome import Outcome

pytestmark = pytest.mark.looptime

JSON = dict[str, Any]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ForbiddenError("no RBAC"), "refused"),
        (ZeroDivisionError("a defect"), "defect while reconciling"),
        (TransientError("away"), "try again later"),
    ],
    ids=["forbidden", "defect", "transient"],
)
@with_cluster
async def test_item_that_fails_stops_no_other_and_is_tried_again(
    cluster: Cluster,
    error: Exception,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert cluster.engine is not None
    leaves = cluster.engine.leaves
    original = leaves._observer.observe
    failing = True

    async def observe(view: Any, *, turn: bool = False) -> Any:
        if view.meta.name == "bad" and failing:
            raise error
        return await original(view, turn=turn)

    monkeypatch.setattr(leaves._observer, "observe", observe)
    with caplog.at_level(logging.INFO):
        cluster.leaf("bad")
        cluster.leaf()
        await cluster.until_said("Issued")
    assert [record.message for record in caplog.records].count(words) >= 1
    failing = False
    await cluster.until_said("Issued", "bad")


@pytest.mark.parametrize("code", [403, 404, 409])
async def test_rate_limit_that_cannot_be_told_is_no_harm(code: int, caplog: pytest.LogCaptureFixture) -> None:
    errors = {
        403: api.ApiError(403, "Forbidden", "no"),
        404: api.not_found(names.LEAF, "web-1"),
        409: api.ApiError(409, "Conflict", "no"),
    }
    async with ready(limits={"csrMaxPerSecond": 0.1}) as cluster:
        fault = cluster.server.fault(
            verb="patch",
            resource=names.LEAF,
            user=OPERATOR,
            times=None,
            error=errors[code],
        )
        with caplog.at_level(logging.INFO):
            for number in range(3):
                cluster.leaf(f"web-{number}")
            await cluster.until(lambda: all(cluster.ready(f"web-{n}")[0] == "Issued" for n in range(3)), 60)
        assert fault.hits == 2
        assert ("rate limit not reported" in caplog.text) == (code == 403)


@with_cluster
async def test_rate_limit_is_not_told_of_a_request_that_said_something_already(cluster: Cluster) -> None:
    cluster.leaf(serviceAccountName="later")
    await cluster.until_said("Pending")
    cluster.written()
    assert cluster.engine is not None
    await cluster.engine.leaves.report_rate_limited("shop", "web")
    await cluster.engine.leaves.report_rate_limited("shop", "nobody")
    assert cluster.written() == []


async def test_spoilt_record_of_the_last_good_spec_is_written_anew() -> None:
    async with ready() as cluster:
        pass
    name = names.accepted_config_map("default")
    cluster.server.merge(names.CONFIG_MAP, name, NAMESPACE, {"data": {"spec.json": "{"}})
    async with cluster.operator():
        await asyncio.sleep(10)
        kept = cluster.server.find(names.CONFIG_MAP, name, NAMESPACE)
        assert kept is not None
        assert kept["data"]["spec.json"].startswith('{"')


@with_cluster
async def test_places_of_a_bundle_that_nobody_wants_are_left_alone(cluster: Cluster) -> None:
    assert cluster.engine is not None
    publisher = cluster.engine.publisher
    assert not (await publisher.reconcile("shop", "unknown")).retry
    assert not (await publisher.reconcile("no-such-namespace", "default")).retry
    cluster.engine.queue.add(bundle_key("shop", "default"), Urgency.CONTROL)
    cluster.engine.queue.add(configuration_key("unknown"), Urgency.CONTROL)
    cluster.engine.queue.add(leaf_key("shop", "unknown"), Urgency.FIRST, "default")
    await asyncio.sleep(5)
    assert cluster.written() == []


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "theirs"])
@with_cluster
async def test_bundle_object_that_the_watch_has_not_told_of_yet(cluster: Cluster, ours: bool) -> None:
    assert cluster.engine is not None
    cluster.server.silence_watches(names.CONFIG_MAP)
    labels = {names.LABEL_TRUST_BUNDLE: "default"} if ours else {}
    body = {"metadata": {"name": "meshca-trust-bundle", "namespace": "new", "labels": labels}}
    cluster.server.create(names.NAMESPACE, {"metadata": {"name": "new"}})
    cluster.server.create(names.CONFIG_MAP, body | {"data": {"ca.crt": "old"}})
    await asyncio.sleep(5)
    found = cluster.server.find(names.CONFIG_MAP, "meshca-trust-bundle", "new")
    assert found is not None
    assert (found["data"]["ca.crt"] != "old") == ours
    assert ("new" in cluster.condition("Degraded")[2]) != ours


async def test_defect_met_by_one_configuration_at_the_start_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    look = ConfigurationReconciler.reconcile

    async def stumble(self: ConfigurationReconciler, name: str) -> tuple[Outcome, datetime | None]:
        if name == "broken":
            raise ZeroDivisionError("a defect")
        return await look(self, name)

    monkeypatch.setattr(ConfigurationReconciler, "reconcile", stumble)
    cluster = Cluster()
    cluster.policy()
    cluster.configure("broken", trustDomain="broken.org", trustBundle={"configMapName": "broken"})
    cluster.configure()
    async with cluster.operator(trust_bundle_names=("meshca-trust-bundle", "broken")):
        await cluster.until_ready()
    assert "defect while reading at start" in caplog.text
