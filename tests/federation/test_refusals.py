"""Invitations, tokens and answers that one side does not accept: told, survived and healed."""

from __future__ import annotations

import asyncio

import pytest

from meshca.api import names
from tests.fakes.apiserver.faults import Fault
from tests.fakes.apiserver.status import ApiError
from tests.fakes.engine import OPERATOR, Cluster
from tests.fakes.federation import Federation, federated, joined
from tests.fakes.meshlife import follows, issues, reason, signers, until
from tests.fakes.turning import events, trigger

pytestmark = pytest.mark.looptime
HOUR = 3600
DAY = 24 * HOUR
MINUTE = 60


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


@pytest.mark.parametrize(
    ("error", "told"),
    [
        pytest.param(ApiError(422, "Invalid", "data is immutable"), "JoinSecretInvalid", id="immutable"),
        pytest.param(ApiError(403, "Forbidden", "no"), "JoinSecretInvalid", id="a policy"),
        pytest.param(ApiError(500, "InternalError", "webhook"), "AsExpected", id="a webhook that is down"),
    ],
)
async def test_a_renewed_token_that_cannot_be_kept_stops_nothing_else(error: ApiError, told: str) -> None:
    async with joined() as (found, _):
        second = found.secondary
        fault = Fault(
            verb="patch",
            resource=names.SECRET,
            name="meshca-primary-default",
            user=OPERATOR,
            times=None,
            error=error,
        )
        second.server.faults.append(fault)
        await second.until(lambda: fault.hits > 0, 4 * DAY)
        trigger(found.primary, "one")
        await follows(found)
        await until(second, "Degraded", "False" if told == "AsExpected" else "True", told)
        assert second.condition()[:2] == ("True", "Initialised")
        tried = fault.hits
        await asyncio.sleep(HOUR)
        assert 0 < fault.hits - tried < 30, "it is tried again, at a back-off"
        second.server.faults.remove(fault)
        await until(second, "Degraded", "False", "AsExpected", HOUR)


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
