"""Rotations of a primary with registered secondaries: that follow, lag, are silent, or un-register."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from meshca.api import names
from meshca.api.v1alpha1.scalars import format_time
from tests.fakes.engine import ready
from tests.fakes.secondary import Hand
from tests.fakes.turning import SHORT, active, bundle, events, states, status, trigger, turned, turning

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.engine import Cluster

pytestmark = pytest.mark.looptime
JSON = dict[str, Any]


def fingerprint(cluster: Cluster, name: str) -> str:
    return str((cluster.server.find(names.CA_ROOT, name) or {})["status"]["fingerprint"])


def said_of(cluster: Cluster, name: str) -> str:
    """Return the message of a CARoot."""
    found = cluster.server.find(names.CA_ROOT, name) or {}
    return str(found["status"]["conditions"][0]["message"])


async def joined(cluster: Cluster, name: str = "west", **spec: Any) -> Hand:
    """Register a cluster, grant it a signer and have it report that it follows."""
    west = Hand(cluster, name)
    west.register(**spec)
    await west.granted()
    west.follow()
    await cluster.until(lambda: west.condition("Converged")[0] == "True", 5)
    return west


async def published(cluster: Cluster) -> None:
    await cluster.until(lambda: len(status(cluster)["bundle"]["roots"]) == 2, 60)


async def rotated(cluster: Cluster, west: Hand) -> tuple[str, str]:
    """Rotate with a cluster that acknowledges; returns the old and the new root."""
    old = active(cluster)
    trigger(cluster, "one")
    await published(cluster)
    west.follow()
    await cluster.until(lambda: active(cluster) != old, 30)
    return old, active(cluster)


def drop_old_key(cluster: Cluster) -> None:
    """Take the key of the root away, so that it cannot sign another one."""
    [secret] = cluster.secrets("root")
    cluster.server.delete(names.SECRET, secret["metadata"]["name"], "meshca-system")


async def test_120_gate_waits_for_the_acknowledgement_of_each_cluster_and_opens_with_the_last() -> None:
    async with ready(**SHORT) as cluster, turned(cluster):
        west, east = await joined(cluster), await joined(cluster, "east")
        old = active(cluster)
        trigger(cluster, "one")
        await published(cluster)
        west.follow()
        await asyncio.sleep(30)
        assert active(cluster) == old
        assert turning(cluster) == ("True", "Publish")
        assert cluster.condition("RotationInProgress")[2].endswith("in secondary clusters east")
        assert cluster.condition("Degraded")[0] == "False"
        await asyncio.sleep(40)
        state, reason, message = cluster.condition("Degraded")
        assert (state, reason) == ("True", "SecondaryBehind")
        assert "'east' does not hold root" in message
        assert "west" not in message
        assert events(cluster).count("SecondaryBehind") == 1
        east.follow()
        await cluster.until(lambda: active(cluster) != old, 10)
        assert cluster.condition("Degraded")[0] == "False"
        assert events(cluster).count("SecondariesFollow") == 1


async def test_cluster_that_never_reported_holds_nothing_up() -> None:
    async with ready(**SHORT) as cluster, turned(cluster):
        Hand(cluster).register()
        old = active(cluster)
        trigger(cluster, "one")
        await cluster.until(lambda: active(cluster) != old, 30)


async def test_gate_opens_after_ten_minutes_with_a_condition_when_cross_certificates_help() -> None:
    async with ready(**SHORT) as cluster, turned(cluster):
        await joined(cluster)
        old = active(cluster)
        trigger(cluster, "one")
        await asyncio.sleep(9 * 60)
        assert active(cluster) == old
        await cluster.until(lambda: active(cluster) != old, 120)
        assert cluster.condition("Degraded")[:2] == ("True", "SecondaryBehind")


async def test_gate_waits_without_end_when_no_cross_certificate_helps_and_unregistering_opens_it() -> None:
    async with ready(**SHORT) as cluster:
        west = await joined(cluster)
        old = active(cluster)
        drop_old_key(cluster)
        trigger(cluster, "one", forceWithoutCrossSigning="one", minimumPublishTime="1s")
        await published(cluster)
        await asyncio.sleep(20 * 3600)
        assert active(cluster) == old
        assert cluster.condition("Degraded")[:2] == ("True", "SecondaryBehind")
        west.unregister()
        await cluster.until(lambda: active(cluster) != old, 10)
        assert cluster.condition("Degraded")[1] != "SecondaryBehind"


async def test_gate_without_cross_certificates_opens_by_the_acknowledgement() -> None:
    async with ready(**SHORT) as cluster:
        west = await joined(cluster)
        old = active(cluster)
        drop_old_key(cluster)
        trigger(cluster, "one", forceWithoutCrossSigning="one", minimumPublishTime="1s")
        await published(cluster)
        await asyncio.sleep(3600)
        assert active(cluster) == old
        west.follow()
        await cluster.until(lambda: active(cluster) != old, 10)


async def test_request_during_publication_is_signed_under_the_active_root_and_anew_after_it() -> None:
    async with ready(**SHORT) as cluster, turned(cluster):
        west = await joined(cluster)
        old = active(cluster)
        trigger(cluster, "one")
        await published(cluster)
        first = west.ask()
        await cluster.until(lambda: west.said(first)[0] == "Issued", 5)
        assert west.answer(first)["root"] == old
        west.follow()
        await cluster.until(lambda: active(cluster) != old, 30)
        await cluster.until(lambda: west.condition("Converged")[:2] == ("False", "Behind"), 5)
        second = west.ask()
        await cluster.until(lambda: west.said(second)[0] == "Issued", 5)
        assert west.answer(second)["root"] == active(cluster)


async def test_130_root_goes_in_its_time_when_its_secondary_has_left_it() -> None:
    async with ready(**SHORT) as cluster, turned(cluster):
        west = await joined(cluster)
        old, _ = await rotated(cluster, west)
        west.follow()
        await cluster.until(lambda: old not in states(cluster), 3 * 3600)
        await asyncio.sleep(5)
        assert len(bundle(cluster)) == 1


async def test_131_root_waits_for_the_last_leaf_that_its_secondary_reported_under_it() -> None:
    async with ready(**SHORT) as cluster, turned(cluster):
        west = await joined(cluster)
        old, _ = await rotated(cluster, west)
        west.follow(lasts=timedelta(hours=5), root=fingerprint(cluster, old))
        await asyncio.sleep(4.9 * 3600)
        assert states(cluster)[old] == "Retiring"
        assert "secondary cluster 'west' has leaves under it until" in said_of(cluster, old)
        state, reason, message = cluster.condition("Degraded")
        assert (state, reason) == ("True", "SecondaryBehind")
        assert repr(old) in message
        # Nobody reports again: that they have expired is a matter of time.
        await cluster.until(lambda: old not in states(cluster), 700)
        assert cluster.condition("Degraded")[0] == "False"


async def test_131_silent_secondary_holds_a_root_until_the_last_signer_granted_under_it_ends() -> None:
    async with ready(**SHORT) as cluster, turned(cluster):
        west = await joined(cluster, maxIntermediateTTL="20h")
        old, _ = await rotated(cluster, west)
        await asyncio.sleep(19 * 3600)
        assert states(cluster)[old] == "Retiring"
        assert "has not reported since another root is active" in said_of(cluster, old)
        await cluster.until(lambda: old not in states(cluster), 2 * 3600)


async def test_131_secondary_that_signs_on_under_a_root_holds_it() -> None:
    async with ready(**SHORT) as cluster, turned(cluster):
        west = await joined(cluster, maxIntermediateTTL="20h")
        old, _ = await rotated(cluster, west)
        west.report(activeRoot=fingerprint(cluster, old))
        await asyncio.sleep(5 * 3600)
        assert states(cluster)[old] == "Retiring"
        assert "still signs under it" in said_of(cluster, old)
        west.follow()
        await cluster.until(lambda: old not in states(cluster), 120)


async def test_131_deletion_of_a_root_waits_for_its_secondary_too() -> None:
    async with ready(**SHORT) as cluster, turned(cluster):
        west = await joined(cluster)
        old, _ = await rotated(cluster, west)
        cluster.server.delete(names.CA_ROOT, old)
        await asyncio.sleep(1800)
        assert states(cluster)[old] == "Retiring"
        west.follow()
        await cluster.until(lambda: old not in states(cluster), 120)


def _unregister(_cluster: Cluster, west: Hand, _old: str) -> None:
    west.unregister()


def _prune_now(cluster: Cluster, _west: Hand, old: str) -> None:
    note = {names.ANNOTATION_PRUNE_NOW: fingerprint(cluster, old)}
    cluster.server.merge(names.CA_ROOT, old, "", {"metadata": {"annotations": note}})


@pytest.mark.parametrize("way", [_unregister, _prune_now], ids=["unregister", "prune-now"])
async def test_silent_secondary_is_let_go_by_a_person(way: Callable[[Cluster, Hand, str], None]) -> None:
    async with ready(**SHORT) as cluster:
        west = await joined(cluster)
        old, _ = await rotated(cluster, west)
        await asyncio.sleep(3 * 3600)
        assert states(cluster)[old] == "Retiring"
        way(cluster, west, old)
        await cluster.until(lambda: old not in states(cluster), 120)
        await asyncio.sleep(5)
        assert events(cluster).count("RootPruned") == 1


async def test_unregistering_and_registering_again_brings_the_hold_back() -> None:
    async with ready(**SHORT) as cluster, turned(cluster):
        west = await joined(cluster, maxIntermediateTTL="20h")
        old, _ = await rotated(cluster, west)
        west.unregister()
        await asyncio.sleep(60)
        west.register()
        await asyncio.sleep(5 * 3600)
        assert states(cluster)[old] == "Retiring"
        west.follow()
        await cluster.until(lambda: old not in states(cluster), 120)


async def test_record_of_granted_signers_that_is_damaged_holds_the_root_and_stops_granting() -> None:
    async with ready(**SHORT) as cluster, turned(cluster):
        west = await joined(cluster, maxIntermediateTTL="3h")
        old = active(cluster)
        damaged = {"metadata": {"annotations": {names.ANNOTATION_INTERMEDIATES: "{"}}}
        cluster.server.merge(names.CA_ROOT, old, "", damaged)
        name = west.ask()
        await cluster.until(lambda: west.said(name)[0] == "SignerNotReady", 5)
        assert names.ANNOTATION_INTERMEDIATES in west.said(name)[1]
        await rotated(cluster, west)
        await asyncio.sleep(6 * 3600)
        assert states(cluster)[old] == "Retiring"
        record = json.dumps({"west": format_time(cluster.clock.now() - timedelta(hours=1))})
        mended = {"metadata": {"annotations": {names.ANNOTATION_INTERMEDIATES: record}}}
        cluster.server.merge(names.CA_ROOT, old, "", mended)
        await cluster.until(lambda: old not in states(cluster), 120)


async def test_121_reports_without_news_write_nothing_in_the_primary() -> None:
    async with ready(**SHORT) as cluster:
        west = await joined(cluster)
        await asyncio.sleep(30)
        cluster.written()
        for _ in range(12):
            west.report()
            await asyncio.sleep(300)
        assert cluster.written() == []


async def test_operator_that_starts_with_a_secondary_behind_goes_on_waiting() -> None:
    async with ready(**SHORT) as cluster, turned(cluster):
        west = await joined(cluster)
        old = active(cluster)
        trigger(cluster, "one")
        await published(cluster)
        await asyncio.sleep(5)
    for _ in range(3):
        async with cluster.operator():
            await asyncio.sleep(30)
            assert active(cluster) == old
    async with cluster.operator():
        await asyncio.sleep(5)
        west.follow()
        await cluster.until(lambda: active(cluster) != old, 30)
