"""What goes wrong between a secondary and its primary: told, survived, and healed without a restart."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshca.api import names
from tests.fakes.engine import Cluster
from tests.fakes.federation import SHORT, Federation, federated, joined
from tests.fakes.turning import events, trigger

pytestmark = pytest.mark.looptime
HOUR = 3600
MINUTE = 60


def reason(cluster: Cluster, kind: str) -> tuple[str, str]:
    state, found, _ = cluster.condition(kind)
    return state, found


async def until(cluster: Cluster, kind: str, state: str, why: str, seconds: float = 120) -> None:
    await cluster.until(lambda: reason(cluster, kind) == (state, why), seconds)


async def issues(cluster: Cluster, name: str) -> None:
    """Have a leaf issued now."""
    cluster.leaf(name, renewal="Automatic")
    await cluster.until(lambda: cluster.ready(name)[0] == "Issued", 10)


def signers(found: Federation) -> list[str]:
    return sorted(item["metadata"]["name"] for item in found.secondary.secrets("signer"))


async def follows(found: Federation, seconds: float = 900) -> None:
    """Wait until the secondary issues under the primary's active root, and its leaves have moved."""
    second = found.secondary
    await second.until(lambda: found.active(second) == found.active(found.primary), seconds)
    await second.until(lambda: reason(second, "RotationInProgress") == ("False", "Completed"), seconds)


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


async def test_123_refused_by_rbac() -> None:
    async with joined(ttl="6h") as (found, _):
        second, before = found.secondary, signers(found)
        found.forbidden |= {"caroots", "caconfigurations", "intermediatecertificaterequests"}
        found.primary.server.cut_watches()
        await until(second, "Reachable", "False", "PrimaryRefuses")
        assert "cannot" in second.condition("Reachable")[2]
        await asyncio.sleep(4 * HOUR)
        assert signers(found) == before
        await issues(second, "web")
        assert events(second).count("PrimaryRefuses") == 1
        found.forbidden.clear()
        await second.until(lambda: signers(found) not in ([], before), 300)
        await until(second, "Reachable", "True", "Connected")


async def test_123_a_request_that_is_refused_is_told_and_made_later() -> None:
    async with federated() as found:
        second = found.secondary
        found.forbidden.add("intermediatecertificaterequests/create")
        found.join()
        async with second.operator():
            await until(second, "Degraded", "True", "NotRegistered")
            assert "cannot create" in second.condition("Degraded")[2]
            assert "cannot create" in second.condition()[2]
            assert reason(second, "Reachable") == ("True", "Connected")
            found.forbidden.clear()
            await second.until_ready()
            await until(second, "Degraded", "False", "AsExpected")


async def test_a_token_that_was_revoked() -> None:
    async with joined() as (found, _):
        second = found.secondary
        found.line.revoked.add(found.user)
        found.primary.server.cut_watches()
        await until(second, "Reachable", "False", "PrimaryRefuses")
        assert "has expired, or was revoked" in second.condition("Reachable")[2]
        await issues(second, "web")
        found.line.revoked.clear()
        await until(second, "Reachable", "True", "Connected")


async def test_unregistered_and_registered_again() -> None:
    async with joined() as (found, _):
        second = found.secondary
        found.primary.server.delete(names.FEDERATED_CLUSTER, found.cluster)
        await until(second, "Degraded", "True", "NotRegistered")
        assert "no FederatedCluster 'west'" in second.condition("Degraded")[2]
        await issues(second, "web")
        trigger(found.primary, "one")
        await asyncio.sleep(10 * MINUTE)
        assert found.active(second) != found.active(found.primary)
        found.register()
        await follows(found)
        await until(second, "Degraded", "False", "AsExpected")
        assert {"NotRegistered", "Registered"} <= set(events(second))


async def test_wrong_digest_at_first_contact() -> None:
    async with federated() as found:
        second = found.secondary
        found.join(digest="b" * 64)
        async with second.operator():
            await until(second, "Degraded", "True", "PrimaryMismatch")
            await asyncio.sleep(10 * MINUTE)
            assert second.secrets() == []
            assert second.server.all(names.CA_ROOT) == []
            assert found.requests() == []
            assert "ask for a new invitation" in second.condition()[2]
            assert "PrimaryMismatch" in events(second)
            invite_anew(found)
            await second.until_ready()


def invite_anew(found: Federation) -> None:
    primary = {"bundleDigest": found.bundle_digest()}
    patch = {"spec": {"federation": {"primary": primary}}}
    found.secondary.server.merge(names.CA_CONFIGURATION, "default", "", patch)


async def test_a_rotation_before_the_first_contact_needs_a_new_invitation() -> None:
    async with federated() as found:
        second = found.secondary
        found.join()
        trigger(found.primary, "one")
        await found.primary.until(lambda: reason(found.primary, "RotationInProgress")[1] == "Completed")
        async with second.operator():
            await until(second, "Degraded", "True", "PrimaryMismatch")
            invite_anew(found)
            await second.until_ready()


async def test_another_trust_domain() -> None:
    async with federated() as found:
        second = found.secondary
        found.join(trustDomain="other.org")
        async with second.operator():
            await until(second, "Degraded", "True", "PrimaryMismatch")
            assert "a trust domain never changes" in second.condition()[2]
            await asyncio.sleep(10 * MINUTE)
            assert (second.secrets(), found.requests()) == ([], [])
            assert events(second).count("PrimaryMismatch") == 1


async def test_two_secondaries_with_one_name() -> None:
    async with joined() as (found, _):
        twin = Cluster(connect=found.line.connect)
        twin.policy()
        twin.server.create(names.SECRET, found.join_secret())
        spec = found.secondary.server.find(names.CA_CONFIGURATION, "default")
        assert spec is not None
        twin.server.create(names.CA_CONFIGURATION, {"metadata": {"name": "default"}, "spec": spec["spec"]})
        async with twin.operator():
            await until(twin, "Degraded", "True", "ClusterNameConflict")
            await asyncio.sleep(HOUR)
            assert reason(twin, "Ready") == ("False", "Pending")
            assert twin.secrets() == []
            assert "ClusterNameConflict" in events(twin)
            # The first is not disturbed.
            assert reason(found.secondary, "Degraded") == ("False", "AsExpected")
            assert len(found.requests()) == 1


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


async def test_a_join_secret_that_is_taken_away_or_broken() -> None:
    async with joined() as (found, _):
        second = found.secondary
        second.server.merge(
            names.SECRET, "meshca-primary-default", "meshca-system", {"data": {"kubeconfig": "e30="}}
        )
        await until(second, "Reachable", "False", "JoinSecretInvalid")
        assert "apply the join manifest again" in second.condition("Reachable")[2]
        second.server.delete(names.SECRET, "meshca-primary-default", "meshca-system")
        await second.until(lambda: "is not in the operator's namespace" in second.condition("Reachable")[2])
        await issues(second, "web")
        second.server.create(names.SECRET, found.join_secret())
        await until(second, "Reachable", "True", "Connected")


async def test_the_token_is_renewed_in_time_and_a_persons_newer_one_wins() -> None:
    async with federated() as found:
        found.seconds = HOUR
        second = found.secondary
        found.join()
        async with second.operator():
            await second.until_ready()
            first = token(second)
            await asyncio.sleep(HOUR / 2 + 60)
            renewed = token(second)
            assert renewed != first
            await asyncio.sleep(3 * HOUR)
            assert reason(second, "Reachable") == ("True", "Connected")
            assert token(second) not in {first, renewed}
            found.seconds = 7 * 24 * HOUR
            newer = found.join_secret()
            second.server.merge(
                names.SECRET, "meshca-primary-default", "meshca-system", {"data": newer["data"]}
            )
            await asyncio.sleep(2 * HOUR)
            assert token(second) == newer["data"]["kubeconfig"]


def token(cluster: Cluster) -> str:
    found = cluster.server.find(names.SECRET, "meshca-primary-default", "meshca-system")
    assert found is not None
    return str(found["data"]["kubeconfig"])


async def test_a_lying_primary_is_refused_and_loses_nobody_anything() -> None:
    async with federated(by_hand=True) as found:
        second = found.secondary
        found.join()
        async with second.operator():
            await second.until(lambda: bool(found.requests()), 60)
            asked = found.requests()[0]
            for status in (
                {"certificateChain": "no PEM at all"},
                {"certificateChain": "x" * 1000},
            ):
                found.answer(asked, status)
                await asyncio.sleep(5)
                assert second.secrets("signer") == []
            await until(second, "Degraded", "True", "PrimaryMismatch")
            # After a while it is asked again, under a new key.
            await second.until(lambda: len(found.requests()) == 2, 700)
            assert "SignerRefused" in events(second)
            fresh = next(
                item for item in found.requests() if item["metadata"]["uid"] != asked["metadata"]["uid"]
            )
            found.grant(fresh)
            await second.until_ready()
            await until(second, "Degraded", "False", "AsExpected")


async def test_what_no_kubernetes_would_answer_ends_in_a_condition() -> None:
    async with joined() as (found, _):
        second = found.secondary
        found.line.garbage = True
        found.line.cut()
        await asyncio.sleep(1)
        found.line.heal()
        await until(second, "Reachable", "False", "PrimaryUnreachable", 180)
        await issues(second, "web")
        found.line.garbage = False
        await until(second, "Reachable", "True", "Connected", 180)


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
