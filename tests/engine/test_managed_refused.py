"""Managed keys where the API server, the chart or a webhook does not let the operator write or read."""

from __future__ import annotations

import asyncio

import pytest

from meshca.api import names
from tests.fakes.apiserver import status as api
from tests.fakes.engine import OPERATOR, Cluster, with_cluster

pytestmark = pytest.mark.looptime

HOUR = 3600.0


async def test_keys_are_kept_only_where_the_chart_allows() -> None:
    cluster = Cluster()
    cluster.policy()
    cluster.configure()
    await asyncio.sleep(60)
    async with cluster.operator(managed_key_namespaces=("elsewhere",)):
        cluster.leaf(secretName="web-tls")
        await cluster.until_said("ManagedKeysNotAllowed")
        assert "managedKeys.namespaces" in cluster.said()
        assert cluster.server.find(names.SECRET, "web-tls", "shop") is None


@with_cluster
async def test_secret_that_the_api_server_refuses_is_told_and_heals(cluster: Cluster) -> None:
    refuse = cluster.server.fault(
        verb="create",
        resource=names.SECRET,
        times=None,
        error=api.ApiError(403, "Forbidden", "secrets is forbidden: exceeded quota: q, limited: secrets=1"),
    )
    cluster.leaf(secretName="web-tls")
    await cluster.until_said("ManagedKeysNotAllowed")
    assert "exceeded quota" in cluster.said()
    cluster.written()
    await asyncio.sleep(HOUR)
    assert [kind for _, kind, _, code in cluster.written() if code < 300] == []
    refuse.times = 0
    await cluster.until_said("Issued", seconds=400)


@pytest.mark.parametrize("name", ["meshca-root-default-0123456789", "meshca-x"])
@with_cluster
async def test_reserved_names_are_refused(cluster: Cluster, name: str) -> None:
    cluster.leaf(secretName=name)
    await cluster.until_said("InvalidRequest")
    assert "are reserved" in cluster.said()


@with_cluster
async def test_requests_in_the_operators_namespace_are_refused(cluster: Cluster) -> None:
    cluster.account("meshca-system", "web")
    cluster.leaf("web", "meshca-system", secretName="x")
    await cluster.until(lambda: cluster.ready("web", "meshca-system") == ("Failed", "Denied"))


@with_cluster
async def test_webhook_that_denies_a_secret_without_a_code_is_told_and_heals(cluster: Cluster) -> None:
    """The API server answers 400, which says nothing against the request."""
    denied = 'admission webhook "v.example.org" denied the request: label team is missing'
    refuse = cluster.server.fault(
        verb="create", resource=names.SECRET, times=None, error=api.ApiError(400, "BadRequest", denied)
    )
    cluster.leaf(secretName="web-tls")
    await cluster.until_said("ManagedKeysNotAllowed")
    assert denied in cluster.said()
    assert cluster.ready()[0] == "Pending"
    refuse.times = 0
    await cluster.until_said("Issued", seconds=400)


@pytest.mark.parametrize("seconds", [1, 2, 3, 5])
async def test_restart_while_secrets_may_not_be_listed_yet_makes_no_new_key(seconds: float) -> None:
    """As after a restart of the API server too, whose RBAC knows nobody for some moments."""
    cluster = Cluster()
    cluster.policy()
    cluster.configure()
    await asyncio.sleep(60)
    places = ["shop", *(f"shop-{number}" for number in range(9))]
    for place in places[1:]:
        cluster.server.create(names.NAMESPACE, {"metadata": {"name": place}})
        cluster.account(place, "web")
    async with cluster.operator(managed_key_namespaces=tuple(places)):
        await cluster.until_ready()
        for place in places:
            cluster.leaf("web", place, secretName="web-tls")
        await cluster.until(lambda: all(cluster.ready("web", place)[0] == "Issued" for place in places))
        await asyncio.sleep(10)
    cluster.written()
    cold = cluster.server.fault(
        user=OPERATOR, times=None, error=api.ApiError(403, "Forbidden", "RBAC: clusterrole not found")
    )
    async with cluster.operator(managed_key_namespaces=tuple(places)):
        await asyncio.sleep(seconds)
        cold.times = 0
        await asyncio.sleep(2 * HOUR)
        assert [entry for entry in cluster.written() if entry[1] != "Lease"] == []
        for place in places:
            cluster.server.delete(names.SECRET, "web-tls", place)
        await asyncio.sleep(10)
        assert all(cluster.server.find(names.SECRET, "web-tls", place) for place in places)
