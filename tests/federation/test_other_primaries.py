"""A primary that was restored, replaced or lost, and clusters that change sides."""

from __future__ import annotations

import asyncio

import pytest

from meshca.api import names
from tests.fakes.federation import SHORT, Federation, federated, joined
from tests.fakes.meshlife import follows, issues, reason, until
from tests.fakes.turning import events, trigger

pytestmark = pytest.mark.looptime
HOUR = 3600


async def test_the_primary_is_restored_from_an_older_backup() -> None:
    async with joined() as (found, witness):
        primary, second = found.primary, found.secondary
        before = found.status(second)["federation"]["sequence"]
        trigger(primary, "one")
        await follows(found)
        active, later = found.active(second), found.status(second)["federation"]["sequence"]
        assert later > before
        bundle = {"bundle": {"sequence": before}}
        async with stopped(found):
            primary.server.merge(
                names.CA_CONFIGURATION, "default", "", {"status": bundle}, subresource="status"
            )
            await until(second, "Degraded", "True", "PrimaryWentBack")
            assert f'meshca.dev/accept-sequence: "{before}"' in second.condition("Degraded")[2]
            await asyncio.sleep(HOUR)
            assert found.active(second) == active
            await issues(second, "web")
            assert "PrimaryWentBack" in events(second)
            note = {names.ANNOTATION_ACCEPT_SEQUENCE: str(before)}
            second.server.merge(names.CA_CONFIGURATION, "default", "", {"metadata": {"annotations": note}})
            await until(second, "Degraded", "False", "AsExpected")
            assert found.status(second)["federation"]["sequence"] == before
            assert "PrimaryAccepted" in events(second)
        assert witness.broken == []


class stopped:  # noqa: N801  reads as a word
    """Have the primary's operator write nothing for a while."""

    def __init__(self, found: Federation) -> None:
        self._server = found.primary.server

    async def __aenter__(self) -> None:
        self._before = self._server.authorize
        self._server.authorize = lambda info: (
            "stopped" if "meshca-system" in info.user and info.is_write else self._before(info)
        )

    async def __aexit__(self, *_: object) -> None:
        self._server.authorize = self._before


async def test_the_primary_is_replaced() -> None:
    async with joined() as (found, witness):
        second = found.secondary
        active = found.active(second)
        other = Federation(cluster=found.cluster)
        other.primary.policy()
        other.primary.configure(**SHORT)
        other.invite()
        async with other.running():
            found.line.servers[found.server] = other.primary.server
            found.line.cut()
            await asyncio.sleep(1)
            found.line.heal()
            await until(second, "Degraded", "True", "PrimaryMismatch", 300)
            assert "the primary was replaced" in second.condition("Degraded")[2]
            await asyncio.sleep(HOUR)
            assert found.active(second) == active
            assert len(second.server.all(names.CA_ROOT)) == 1
            assert other.requests() == []
            await issues(second, "web")
            primary = {"bundleDigest": other.bundle_digest()}
            patch = {"spec": {"federation": {"primary": primary}}}
            second.server.merge(names.CA_CONFIGURATION, "default", "", patch)
            await second.until(lambda: found.active(second) == other.active(other.primary), 900)
            states = [item["status"]["state"] for item in second.server.all(names.CA_ROOT)]
            assert sorted(states) == ["Active", "Retiring"]
            told = events(second)
            assert (told.count("PrimaryMismatch"), told.count("PrimaryAccepted")) == (1, 1)
        assert witness.broken == []


async def test_047_a_former_primary_becomes_a_secondary() -> None:
    async with federated() as found:
        second = found.secondary
        second.configure(**SHORT)
        async with second.operator():
            await second.until_ready()
            second.leaf("csr", renewal="Automatic")
            await second.until(lambda: second.ready("csr")[0] == "Issued")
            mine = found.active(second)
            second.server.create(names.SECRET, found.join_secret())
            ref = {"kubeconfigSecretName": "meshca-primary-default", "bundleDigest": found.bundle_digest()}
            spec = {"clusterName": found.cluster, "federation": {"primary": ref}}
            second.server.merge(names.CA_CONFIGURATION, "default", "", {"spec": spec})
            await follows(found)
            states = {
                item["metadata"]["name"]: item["status"]["state"] for item in second.server.all(names.CA_ROOT)
            }
            assert states == {mine: "Retiring", found.active(second): "Active"}
            assert len(second.secrets("root")) == 1
            told = ["PrimaryJoined", "RootMirrored", "SignerGranted", "RootActivated", "RotationCompleted"]
            assert set(told) <= set(events(second))
            await second.until(lambda: second.status("csr")["root"] == found.active(second), 60)
            await asyncio.sleep(2 * HOUR)
            assert [item["metadata"]["name"] for item in second.server.all(names.CA_ROOT)] == [
                found.active(second)
            ]
            assert second.secrets("root") == []


async def test_a_secondary_is_promoted_while_its_primary_is_lost() -> None:
    async with joined() as (found, witness):
        second = found.secondary
        mirrored = found.active(second)
        found.line.cut()
        await until(second, "Reachable", "False", "PrimaryUnreachable")
        told = len(events(second))
        text = "take over"
        rotation = {"trigger": text, "forceWithoutCrossSigning": text}
        spec = {"federation": None, "provider": {"type": "Builtin"}, "rotation": rotation}
        second.server.merge(names.CA_CONFIGURATION, "default", "", {"spec": spec})
        await second.until(lambda: found.active(second) not in {"", mirrored}, 900)
        await until(second, "RotationInProgress", "False", "Completed", 900)
        states = {
            item["metadata"]["name"]: item["status"]["state"] for item in second.server.all(names.CA_ROOT)
        }
        assert states == {mirrored: "Retiring", found.active(second): "Active"}
        assert {"RootActivated", "RotationCompleted"} <= set(events(second)[told:])
        assert reason(second, "Reachable") == ("", "")
        assert "federation" not in found.status(second)
        assert reason(second, "Ready") == ("True", "Initialised")
        assert found.secondary.tally.primaries == {}
        await asyncio.sleep(2 * HOUR)
        assert len(second.server.all(names.CA_ROOT)) == 1
        assert witness.broken == []
