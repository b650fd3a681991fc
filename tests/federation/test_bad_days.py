"""A link that fails between a secondary and its primary: told, survived, and healed without a restart."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshca.api import names
from tests.fakes.apiserver.status import ApiError
from tests.fakes.engine import OPERATOR
from tests.fakes.federation import Federation, federated, joined
from tests.fakes.meshlife import follows, issues, reason, signers, until
from tests.fakes.turning import events, trigger

pytestmark = pytest.mark.looptime
HOUR = 3600
MINUTE = 60


async def test_046_unreachable_at_bootstrap() -> None:
    async with federated() as found:
        second = found.secondary
        found.line.cut()
        found.join()
        async with second.operator():
            await until(second, "Reachable", "False", "PrimaryUnreachable")
            assert second.condition()[2].startswith("waits for the primary: the primary cannot be reached")
            await asyncio.sleep(HOUR)
            assert events(second).count("PrimaryUnreachable") == 1
            assert second.secrets() == []
            found.line.heal()
            await second.until_ready()
            await until(second, "Reachable", "True", "Connected")
            assert "PrimaryReachable" in events(second)
            assert "PrimaryJoined" in events(second)
            await issues(second, "web")


async def test_210_unreachable_at_renewal() -> None:
    async with joined(ttl="6h") as (found, _):
        second, before = found.secondary, signers(found)
        found.line.cut()
        await asyncio.sleep(4 * HOUR)
        assert signers(found) == before
        assert reason(second, "Reachable") == ("False", "PrimaryUnreachable")
        assert reason(second, "Ready") == ("True", "Initialised")
        await issues(second, "web")
        found.line.heal()
        await second.until(lambda: signers(found) not in ([], before), 180)
        await until(second, "Reachable", "True", "Connected")
        assert second.secrets(names.KEY_ROLE_REQUESTED) == []
        told = events(second)
        assert (told.count("PrimaryUnreachable"), told.count("PrimaryReachable")) == (1, 1)
        assert told.count("SignerGranted") == 2


async def test_210_a_primary_that_is_away_for_longer_than_the_signer_lives() -> None:
    async with joined(ttl="6h") as (found, witness):
        second = found.secondary
        found.line.cut()
        await asyncio.sleep(5 * HOUR)
        await issues(second, "web")
        assert "IssuingStopped" not in events(second)
        await until(second, "Ready", "False", "Pending", 2 * HOUR)
        assert second.condition()[2].startswith("waits for the primary: the primary cannot be reached")
        await second.until(lambda: "IssuingStopped" in events(second), 60)
        second.leaf("late", renewal="Automatic")
        await second.until(lambda: second.ready("late") == ("Pending", "SignerNotReady"), 60)
        await asyncio.sleep(HOUR)
        assert events(second).count("IssuingStopped") == 1
        found.line.heal()
        await until(second, "Ready", "True", "Initialised", 300)
        await second.until(lambda: second.ready("late")[0] == "Issued", 600)
        told = events(second)
        assert {"PrimaryReachable", "SignerGranted"} <= set(told[told.index("IssuingStopped") :])
        assert witness.broken == []


@pytest.mark.parametrize("phase", ["Prepare", "Publish", "Activate", "Reissue", "Complete"])
async def test_cut_in_each_phase_of_the_primarys_rotation_and_healed(phase: str) -> None:
    async with joined() as (found, witness):
        primary, second = found.primary, found.secondary
        before = found.active(second)
        primary.leaf("csr", renewal="Automatic")
        await primary.until(lambda: primary.ready("csr")[0] == "Issued")
        cut_when(found, phase)
        trigger(primary, "one")
        await primary.until(found.line.broken.is_set, 60)
        await asyncio.sleep(20 * MINUTE)
        await issues(second, "web")
        assert reason(second, "Ready") == ("True", "Initialised")
        assert events(second).count("PrimaryUnreachable") == 1
        found.line.heal()
        await follows(found)
        assert found.active(second) != before
        assert "PrimaryReachable" in events(second)
        if phase in {"Prepare", "Publish"}:
            # Later on it has acknowledged both roots already.
            assert "SecondaryBehind" in events(primary)
            await until(primary, "Degraded", "False", "AsExpected", 4 * HOUR)
            assert "SecondariesFollow" in events(primary)
        assert witness.active[-1] == found.active(second)


def cut_when(found: Federation, phase: str) -> None:
    """Cut the line at the moment in which the primary's status enters a phase."""

    def heard(change: Any) -> None:
        status = change.item.get("status") or {}
        if change.resource == names.CA_CONFIGURATION and (status.get("rotation") or {}).get("phase") == phase:
            found.line.cut()
            found.primary.server.store.listeners.remove(heard)

    found.primary.server.store.listeners.append(heard)


@pytest.mark.parametrize("phase", ["Prepare", "Publish", "Activate", "Reissue"])
async def test_cut_in_each_phase_of_the_secondarys_own_rotation_and_healed(phase: str) -> None:
    async with joined() as (found, _):
        second = found.secondary

        def heard(change: Any) -> None:
            told = ((change.item.get("status") or {}).get("rotation") or {}).get("phase")
            if change.resource == names.CA_CONFIGURATION and told == phase:
                found.line.cut()

        second.server.store.listeners.append(heard)
        trigger(found.primary, "one")
        try:
            await second.until(found.line.broken.is_set, 30)
        except AssertionError:
            # A phase that takes no time is never told.
            assert phase in {"Publish", "Activate"}
            return
        finally:
            second.server.store.listeners.remove(heard)
        await asyncio.sleep(20 * MINUTE)
        await issues(second, "web")
        found.line.heal()
        await follows(found)


async def test_a_secondary_that_was_down_for_a_rotation_and_its_successor() -> None:
    async with federated() as found:
        primary, second = found.primary, found.secondary
        found.join()
        async with second.operator():
            await second.until_ready()
            second.leaf("csr", renewal="Automatic")
            await second.until(lambda: second.ready("csr")[0] == "Issued")
            await second.until(lambda: bool(found.reported()), 30)
        for text in ("one", "two"):
            before = found.active(primary)
            trigger(primary, text)
            await primary.until(lambda before=before: found.active(primary) != before, HOUR)  # type: ignore[misc]
            await asyncio.sleep(2 * HOUR)
        assert reason(primary, "Degraded") == ("True", "SecondaryBehind")
        assert "SecondaryBehind" in events(primary)
        assert "ClusterUnreachable" in registrations(found)
        async with second.operator():
            await follows(found)
            await second.until(lambda: second.ready("csr")[0] == "Issued", 60)
            await until(second, "Reachable", "True", "Connected")
            await until(primary, "Degraded", "False", "AsExpected", 4 * HOUR)
            assert "SecondariesFollow" in events(primary)
            assert "ClusterReachable" in registrations(found)


def registrations(found: Federation) -> set[str]:
    """Return the reasons of the Events about registered clusters."""
    told = found.primary.server.all(names.EVENT)
    return {item["reason"] for item in told if item["regarding"]["kind"] == names.FEDERATED_CLUSTER.kind}


async def test_121_silence_when_there_is_no_news() -> None:
    async with joined() as (found, _):
        found.primary.server.audit.clear()
        await asyncio.sleep(20 * MINUTE)
        leaves = {"LeafCertificateRequest/status", "Secret"}
        assert [item for item in found.secondary.written() if item[1] not in leaves] == []
        said = [entry.info for entry in found.primary.server.writes(user=found.user)]
        # A sign of life every five minutes.
        assert 3 <= len(said) <= 5
        assert {(info.resource.plural, info.subresource) for info in said} == {
            ("federatedclusters", "status")
        }


async def test_122_a_watch_whose_version_goes_back_begins_anew() -> None:
    async with joined() as (found, witness):
        primary = found.primary.server
        primary.compact()
        primary.cut_watches()
        trigger(found.primary, "one")
        await follows(found)
        assert witness.broken == []


async def test_a_namespace_where_writes_fail_holds_a_join_up_for_ten_minutes() -> None:
    async with federated() as found:
        second = found.secondary
        second.server.fault(
            resource=names.CONFIG_MAP,
            namespace="shop",
            writes_only=True,
            user=OPERATOR,
            times=None,
            error=ApiError(500, "InternalError", "failed calling webhook"),
        )
        found.join()
        async with second.operator():
            await second.until(lambda: second.condition()[0] == "True", 720)
            assert "shop: " in second.condition("Degraded")[2]
