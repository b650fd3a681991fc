"""The admission policy in the life of a cluster: missing, weakened, put back, upgraded."""

from __future__ import annotations

import asyncio

import pytest

from meshca.api import admission, names
from tests.fakes.engine import NAMESPACE, OPERATOR, Cluster, ready, with_cluster

pytestmark = pytest.mark.looptime

REQUESTER = admission.REQUESTER


def weaken(cluster: Cluster) -> None:
    cluster.server.merge(names.VALIDATING_BINDING, REQUESTER, "", {"spec": {"validationActions": ["Audit"]}})


def strengthen(cluster: Cluster) -> None:
    cluster.server.merge(names.VALIDATING_BINDING, REQUESTER, "", {"spec": {"validationActions": ["Deny"]}})


def remove(cluster: Cluster) -> None:
    cluster.server.delete(names.VALIDATING_POLICY, REQUESTER)


def put_back(cluster: Cluster) -> None:
    policy = cluster.server.find(names.VALIDATING_POLICY, REQUESTER)
    binding = cluster.server.find(names.VALIDATING_BINDING, REQUESTER)
    if policy is not None:
        cluster.server.delete(names.VALIDATING_POLICY, REQUESTER)
    if binding is not None:
        cluster.server.delete(names.VALIDATING_BINDING, REQUESTER)
    cluster.policy()


@pytest.mark.parametrize(
    ("spoil", "heal", "words"),
    [
        pytest.param(weaken, strengthen, "not as shipped", id="weakened"),
        pytest.param(remove, put_back, "is missing; apply the chart's policies", id="deleted"),
    ],
)
@with_cluster
async def test_requests_made_without_the_policy_are_refused_and_issued_ones_go_on(
    cluster: Cluster, spoil: object, heal: object, words: str
) -> None:
    assert callable(spoil)
    assert callable(heal)
    cluster.leaf("before", renewal="Automatic", ttl="1h")
    cluster.leaf("kept", secretName="kept-tls")
    await cluster.until(lambda: cluster.ready("before")[0] == cluster.ready("kept")[0] == "Issued")
    spoil(cluster)
    await cluster.until(lambda: cluster.condition("Degraded")[1] == "AdmissionPolicyMissing", 3)
    assert words in cluster.condition("Degraded")[2]
    assert cluster.condition()[:2] == ("False", "Pending")
    cluster.leaf("gap")
    await cluster.until_said("SignerNotReady", "gap")
    await asyncio.sleep(3600)
    assert cluster.ready("before") == ("Renew", "SignerNotReady")
    assert cluster.ready("kept") == ("Issued", "Issued")
    heal(cluster)
    await cluster.until_said("PolicyGap", "gap", seconds=5)
    cluster.leaf("too-early")
    await cluster.until_said("PolicyGap", "too-early", seconds=5)
    await cluster.until(lambda: cluster.ready("before") == ("Issued", "Issued"), 5)
    await cluster.until(lambda: cluster.condition()[1] == "Initialised", 60)
    cluster.leaf("after")
    await cluster.until_said("Issued", "after", seconds=5)
    assert cluster.ready("gap") == ("Failed", "PolicyGap")


@with_cluster
async def test_ready_means_that_a_request_made_now_is_served(cluster: Cluster) -> None:
    put_back(cluster)
    await cluster.until(lambda: cluster.condition()[0] == "False", 5)
    await cluster.until(lambda: cluster.condition()[0] == "True", 60)
    cluster.leaf()
    await cluster.until_said("Issued", seconds=5)


async def test_policy_weakened_and_put_back_while_no_operator_ran_is_noticed() -> None:
    async with ready() as cluster:
        pass
    weaken(cluster)
    cluster.leaf("sneaked")
    strengthen(cluster)
    await asyncio.sleep(120)
    async with cluster.operator():
        await cluster.until_said("PolicyGap", "sneaked")


async def test_time_in_force_survives_a_restart() -> None:
    async with ready() as cluster:
        record = cluster.server.find(names.CONFIG_MAP, names.ADMISSION_CONFIG_MAP, NAMESPACE)
        assert record is not None
    async with cluster.operator():
        cluster.leaf()
        await cluster.until_said("Issued")
        again = cluster.server.find(names.CONFIG_MAP, names.ADMISSION_CONFIG_MAP, NAMESPACE)
        assert again == record


async def test_spoilt_record_is_written_anew() -> None:
    async with ready() as cluster:
        pass
    spoilt = {"data": {"since": "never", "policyGeneration": "many"}}
    cluster.server.merge(names.CONFIG_MAP, names.ADMISSION_CONFIG_MAP, NAMESPACE, spoilt)
    async with cluster.operator():
        cluster.leaf()
        await cluster.until_said("Issued")


async def test_policy_that_cannot_be_read_keeps_the_last_verdict_and_is_read_again() -> None:
    async with ready() as cluster:
        fault = cluster.server.fault(
            verb="get", resource=names.VALIDATING_POLICY, user=OPERATOR, unreachable=True, times=5
        )
        cluster.server.merge(names.VALIDATING_POLICY, REQUESTER, "", {"metadata": {"labels": {"a": "b"}}})
        await asyncio.sleep(1)
        cluster.leaf()
        await cluster.until_said("Issued", seconds=5)
        await cluster.until(lambda: fault.hits == 5)
        weaken(cluster)
        await cluster.until(lambda: cluster.condition("Degraded")[0] == "True", 10)


@with_cluster
async def test_record_of_the_policy_that_somebody_deleted_is_written_again(cluster: Cluster) -> None:
    cluster.server.delete(names.CONFIG_MAP, names.ADMISSION_CONFIG_MAP, NAMESPACE)
    await cluster.until(
        lambda: cluster.server.find(names.CONFIG_MAP, names.ADMISSION_CONFIG_MAP, NAMESPACE), 700
    )
