"""A changed template of names, in virtual time: what is said, until when, and over a change of leader."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from meshca.api import names
from tests.fakes import pki
from tests.fakes.engine import ready, with_cluster

if TYPE_CHECKING:
    from tests.fakes.engine import Cluster

pytestmark = pytest.mark.looptime

JSON = dict[str, Any]
BLUE = {"pathTemplate": "/dc/{clusterName}/ns/{namespace}/sa/{serviceAccount}"}
NEW = "spiffe://example.org/dc/default/ns/shop/sa/web"


def respec(cluster: Cluster, **spec: Any) -> None:
    cluster.server.merge(names.CA_CONFIGURATION, "default", "", {"spec": spec})


def degraded(cluster: Cluster) -> tuple[str, str]:
    return cluster.condition("Degraded")[:2]


async def leaves(cluster: Cluster, **each: JSON) -> None:
    for name, spec in each.items():
        cluster.leaf(name, **spec)
    await cluster.until(lambda: all(cluster.ready(name)[0] == "Issued" for name in each))


@with_cluster
async def test_it_is_said_until_the_last_such_leaf_has_its_new_name(cluster: Cluster) -> None:
    await leaves(
        cluster,
        csr={"renewal": "Automatic", "ttl": "1h"},
        managed={"secretName": "m-tls", "ttl": "1h"},
        manual={"ttl": "2h"},
    )
    respec(cluster, identity=BLUE)
    await cluster.until(lambda: degraded(cluster) == ("True", "IdentityTemplateChanged"))
    assert " 3 (shop/csr, shop/managed, shop/manual);" in cluster.condition("Degraded")[2]
    await cluster.until(lambda: degraded(cluster) == ("False", "AsExpected"), 3 * 3600)
    assert {cluster.status(name)["spiffeID"] for name in ("csr", "managed")} == {NEW}
    assert cluster.status("manual").get("spiffeID") != NEW, "only its end took it out of the count"


@with_cluster
async def test_a_csr_that_names_the_old_uri_is_refused_at_its_renewal(cluster: Cluster) -> None:
    old = pki.request(None, x509.UniformResourceIdentifier("spiffe://example.org/ns/shop/sa/web"))
    await leaves(cluster, web={"request": old, "renewal": "Automatic", "ttl": "1h"})
    respec(cluster, identity=BLUE)
    await cluster.until(lambda: cluster.ready() == ("Renew", "Denied"), 3 * 3600)
    assert degraded(cluster) == ("True", "IdentityTemplateChanged")
    assert repr(NEW) in cluster.said()
    cluster.server.delete(names.LEAF, "web", "shop")
    await cluster.until(lambda: degraded(cluster) == ("False", "AsExpected"))


@with_cluster
async def test_a_template_that_goes_back_misnames_nobody(cluster: Cluster) -> None:
    await leaves(cluster, web={})
    respec(cluster, clusterName="blue")
    await asyncio.sleep(5)
    assert degraded(cluster) == ("False", "AsExpected"), "the template does not name the cluster"
    respec(cluster, identity=BLUE)
    await cluster.until(lambda: degraded(cluster)[0] == "True")
    respec(cluster, identity={"pathTemplate": "/ns/{namespace}/sa/{serviceAccount}"})
    await cluster.until(lambda: degraded(cluster)[0] == "False")


@pytest.mark.parametrize("changed", [False, True], ids=["as before", "changed"])
async def test_i6_another_leader_says_the_same_and_writes_nothing(changed: bool) -> None:
    async with ready() as cluster:
        await leaves(cluster, web={}, other={"secretName": "other-tls"})
        if changed:
            respec(cluster, identity=BLUE)
        await cluster.until(lambda: degraded(cluster)[0] == str(changed))
        await asyncio.sleep(5)
        told = cluster.condition("Degraded")
    cluster.written()
    async with cluster.operator():
        await asyncio.sleep(120)
        assert cluster.written() == []
        assert cluster.condition("Degraded") == told


async def test_what_changed_while_nobody_led_is_said_and_taken_back() -> None:
    async with ready() as cluster:
        await leaves(cluster, web={})
    respec(cluster, identity=BLUE)
    async with cluster.operator():
        await cluster.until(lambda: degraded(cluster) == ("True", "IdentityTemplateChanged"))
    cluster.server.delete(names.LEAF, "web", "shop")
    async with cluster.operator():
        await cluster.until(lambda: degraded(cluster) == ("False", "AsExpected"))
