"""What a CA does when something beside it is not as it left it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshca.api import names
from meshca.pki import certificates
from tests.fakes.clock import LoopClock
from tests.fakes.engine import NAMESPACE, Cluster, ready

pytestmark = pytest.mark.looptime

JSON = dict[str, Any]


async def test_no_root_is_minted_beside_a_caroot_that_cannot_be_read() -> None:
    cluster = Cluster()
    cluster.policy()
    cluster.configure()
    spec = {
        "caConfigurationName": "default",
        "certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "source": "Generated",
        "keySecretName": "meshca-root-default-0123456789",
    }
    cluster.server.create(names.CA_ROOT, {"metadata": {"name": "default-0123456789"}, "spec": spec})
    async with cluster.operator():
        await asyncio.sleep(30)
        assert cluster.secrets() == []
        assert cluster.condition()[:2] == ("False", "RootKeyMissing")
        assert "default-0123456789" in cluster.condition()[2]


async def test_secret_that_lost_its_labels_is_told_and_not_hammered() -> None:
    async with ready() as cluster:
        pass
    [root] = cluster.secrets("root")
    for kind, name in ((names.CA_ROOT, None), (names.SECRET, "signer")):
        found = cluster.secrets(name) if name else cluster.server.all(kind)
        for item in found:
            cluster.server.merge(
                kind,
                item["metadata"]["name"],
                item["metadata"].get("namespace", ""),
                {"metadata": {"finalizers": None}},
            )
            cluster.server.delete(kind, item["metadata"]["name"], item["metadata"].get("namespace", ""))
    cluster.server.merge(names.SECRET, root["metadata"]["name"], NAMESPACE, {"metadata": {"labels": None}})
    cluster.server.delete(names.CA_CONFIGURATION, "default")
    cluster.configure()
    cluster.written()
    async with cluster.operator():
        await asyncio.sleep(60)
        tries = [entry for entry in cluster.written() if entry[:2] == ("create", "Secret")]
        assert len(tries) <= 20
        assert cluster.condition()[0] == "False"
        assert root["metadata"]["name"] in cluster.condition()[2]


async def test_bundle_whose_labels_were_taken_off_is_repaired_after_a_restart_too() -> None:
    async with ready() as cluster:
        pass
    async with cluster.operator():
        await asyncio.sleep(30)
        cluster.server.merge(
            names.CONFIG_MAP,
            "meshca-trust-bundle",
            "shop",
            {"metadata": {"labels": None}, "data": {"ca.crt": "tampered"}},
        )
        await asyncio.sleep(30)
        found = cluster.server.find(names.CONFIG_MAP, "meshca-trust-bundle", "shop")
        assert found is not None
        assert found["data"]["ca.crt"].startswith("-----BEGIN")


async def test_policy_is_in_force_by_the_clock_of_the_api_server() -> None:
    """The operator's clock is slow: requests from before the policy must not pass for later ones."""
    ahead = LoopClock()
    ahead.step(50)
    cluster = Cluster()
    cluster.server.clock = ahead
    cluster.server.writer.clock = ahead
    cluster.configure()
    cluster.policy()
    async with cluster.operator():
        await asyncio.sleep(120)
        cluster.server.merge(
            names.VALIDATING_POLICY, "requester.meshca.dev", "", {"spec": {"failurePolicy": "Ignore"}}
        )
        await asyncio.sleep(10)
        cluster.leaf("forged")
        await asyncio.sleep(5)
        cluster.server.merge(
            names.VALIDATING_POLICY, "requester.meshca.dev", "", {"spec": {"failurePolicy": "Fail"}}
        )
        await asyncio.sleep(60)
        assert cluster.ready("forged") == ("Failed", "PolicyGap")


async def test_request_made_as_soon_as_the_ca_is_ready_is_served_though_the_api_server_is_slow() -> None:
    behind = LoopClock()
    behind.step(-1)
    cluster = Cluster()
    cluster.server.clock = behind
    cluster.server.writer.clock = behind
    cluster.configure()
    cluster.policy()
    async with cluster.operator():
        await cluster.until(lambda: cluster.condition()[0] == "True")
        cluster.leaf()
        await cluster.until_said("Issued")


async def test_request_applied_together_with_the_rule_that_allows_it_is_served() -> None:
    async with ready() as cluster:
        cluster.server.merge(
            names.CA_CONFIGURATION, "default", "", {"spec": {"identity": {"dnsNames": ["*.example.org"]}}}
        )
        cluster.leaf(dnsNames=["web.example.org"])
        await cluster.until_said("Issued")
        cluster.leaf("other", dnsNames=["web.example.com"])
        await cluster.until_said("Denied", "other")


async def test_nothing_irreversible_happens_while_the_clocks_differ() -> None:
    ahead = LoopClock()
    ahead.step(120)
    cluster = Cluster()
    cluster.server.clock = ahead
    cluster.server.writer.clock = ahead
    cluster.policy()
    cluster.configure()
    async with cluster.operator():
        await asyncio.sleep(60)
        assert cluster.secrets() == []
        assert cluster.condition("Degraded")[:2] == ("True", "ClockSkew")
        assert cluster.condition()[:2] == ("False", "Pending")
        assert "clock" in cluster.condition()[2]
        cluster.written()
        await asyncio.sleep(3600)
        assert cluster.written() == []
        ahead.step(-120)
        await cluster.until_ready()
        assert cluster.condition("Degraded")[0] == "False"


@pytest.mark.parametrize("seconds", [-300, 300, -7200, 7200])
async def test_leaves_are_signed_while_the_clocks_differ_and_that_is_told(seconds: float) -> None:
    async with ready() as cluster:
        # A request that is dated before the policy was in force would be refused for that.
        await asyncio.sleep(3 * 3600)
        server = LoopClock()
        cluster.server.clock = cluster.server.writer.clock = server
        server.step(seconds)
        await cluster.until(lambda: cluster.condition("Degraded")[:2] == ("True", "ClockSkew"), 700)
        cluster.leaf()
        await cluster.until_said("Issued")
        leaf, signer = certificates.load_all(cluster.status()["certificateChain"])[:2]
        assert leaf.not_valid_after_utc <= signer.not_valid_after_utc


async def test_with_a_clock_that_is_ahead_no_request_is_removed_or_refused_for_good() -> None:
    """The operator comes up on a node whose clock is wrong by more than the life of a leaf."""
    cluster = Cluster()
    cluster.server.clock = cluster.server.writer.clock = LoopClock()
    cluster.policy()
    cluster.configure(leaf={"ttl": "8h"})
    await asyncio.sleep(60)
    async with cluster.operator():
        await cluster.until_ready()
        cluster.leaf()
        await cluster.until_said("Issued")
    cluster.clock.step(80 * 3600)
    async with cluster.operator():
        await cluster.until(lambda: cluster.condition("Degraded")[:2] == ("True", "ClockSkew"))
        cluster.leaf("late")
        await cluster.until_said("Pending", "late")
        await asyncio.sleep(3600)
        assert cluster.ready("late")[0] == "Pending"
        assert cluster.ready()[0] == "Issued"
        cluster.clock.step(-80 * 3600)
        await cluster.until_said("Issued", "late", 600)


async def test_ca_and_leaves_of_a_clock_that_ran_ahead_are_made_anew_once_it_is_right() -> None:
    """The clocks of operator and API server went wrong together, so that nothing looked odd."""
    cluster = Cluster()
    cluster.policy()
    cluster.configure(leaf={"ttl": "1h"}, intermediate={"ttl": "20h"})
    await asyncio.sleep(60)
    async with cluster.operator():
        await cluster.until_ready()
        cluster.leaf(renewal="Automatic")
        await cluster.until_said("Issued")
        cluster.clock.step(15 * 3600)
        await asyncio.sleep(1200)
        assert cluster.status()["notBefore"] > "2026-03-01T12"
        cluster.clock.step(-15 * 3600)
        await asyncio.sleep(1200)
        leaf, signer = certificates.load_all(cluster.status()["certificateChain"])
        now = cluster.clock.now()
        assert leaf.not_valid_before_utc <= now
        assert signer.not_valid_before_utc <= now
        assert len(cluster.secrets("signer")) == 1
        cluster.written()
        await asyncio.sleep(600)
        assert cluster.written() == []
