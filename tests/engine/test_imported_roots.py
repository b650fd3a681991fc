"""Roots that a user brings: refused and told why, healed, replaced in place, owned by one configuration."""

from __future__ import annotations

import asyncio
import base64
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from meshca.api import names
from meshca.pki import certificates, keys
from tests.fakes import pki
from tests.fakes.apiserver.faults import Fault, RequestInfo
from tests.fakes.clock import START
from tests.fakes.engine import NAMESPACE, OPERATOR, Cluster

if TYPE_CHECKING:
    from cryptography import x509
from tests.fakes.authorities import break_glass, root_of

pytestmark = pytest.mark.looptime
HOUR = 3600.0
DAY = 24 * HOUR
IMPORTED_KEY = pki.key("ECDSA 256", "imported")


def import_secret(
    cluster: Cluster, certificate: x509.Certificate, key: keys.PrivateKey = IMPORTED_KEY
) -> None:
    data = {
        "tls.crt": base64.b64encode(certificates.to_pem(certificate).encode()).decode(),
        "tls.key": base64.b64encode(keys.to_pem(key)).decode(),
    }
    metadata = {"name": "mine", "namespace": NAMESPACE}
    if cluster.server.find(names.SECRET, "mine", NAMESPACE):
        cluster.server.merge(names.SECRET, "mine", NAMESPACE, {"data": data})
    else:
        cluster.server.create(names.SECRET, {"metadata": metadata, "type": "kubernetes.io/tls", "data": data})


def import_root(**changes: Any) -> x509.Certificate:
    return pki.imported_root(IMPORTED_KEY, not_before=START - 10 * pki.HOUR, **changes)


FAR = START + 3650 * pki.DAY


BAD_ROOTS: list[Any] = [
    pytest.param(
        import_root(not_after=START - pki.HOUR), IMPORTED_KEY, "it has expired at", id="027 expired"
    ),
    pytest.param(
        import_root(not_after=FAR, path_length=1), IMPORTED_KEY, "its pathLen is 1", id="027 pathLen"
    ),
    pytest.param(
        import_root(not_after=FAR, uris=("spiffe://other.org",)),
        IMPORTED_KEY,
        "its trust domain is other.org, not example.org",
        id="027 trust domain",
    ),
    pytest.param(
        import_root(not_after=FAR), pki.key("ECDSA 256", "wrong"), "does not belong", id="027 another key"
    ),
    pytest.param(
        pki.imported_root(IMPORTED_KEY, not_before=START + 10 * pki.DAY, not_after=FAR),
        IMPORTED_KEY,
        "not yet valid",
        id="027 not yet valid",
    ),
]


@pytest.mark.parametrize(("certificate", "key", "words"), BAD_ROOTS)
async def test_imported_root_that_is_refused_says_why_and_heals(
    certificate: x509.Certificate, key: keys.PrivateKey, words: str
) -> None:
    cluster = Cluster()
    cluster.policy()
    cluster.configure(provider={"type": "Builtin", "builtin": {"rootSecretName": "mine"}})
    await asyncio.sleep(60)
    async with cluster.operator():
        await cluster.until(lambda: cluster.condition()[1] == "InvalidConfiguration")
        assert "is not in the operator's namespace; create it" in cluster.condition()[2]
        import_secret(cluster, certificate, key)
        await cluster.until(lambda: words in cluster.condition()[2], 5)
        assert cluster.condition()[:2] == ("False", "InvalidConfiguration")
        assert cluster.secrets() == []
        good = import_root(not_after=FAR)
        import_secret(cluster, good)
        await cluster.until_ready()
        [root] = cluster.server.all(names.CA_ROOT)
        assert certificates.load_one(root["spec"]["certificate"]) == good
        assert root["spec"]["source"] == "Imported"
        cluster.leaf()
        await cluster.until_said("Issued")


async def test_imported_root_serves_one_configuration_until_that_is_gone() -> None:
    cluster = Cluster()
    cluster.policy()
    import_secret(cluster, import_root(not_after=FAR, uris=()))
    provider = {"type": "Builtin", "builtin": {"rootSecretName": "mine"}}
    cluster.configure(provider=provider)
    await asyncio.sleep(60)
    async with cluster.operator():
        await cluster.until_ready()
        bundle = {"configMapName": "second", "clusterTrustBundle": False}
        cluster.configure("second", trustDomain="other.org", provider=provider, trustBundle=bundle)
        await cluster.until(lambda: cluster.condition(name="second")[1] == "InvalidConfiguration", 5)
        assert "of CAConfiguration 'default'" in cluster.condition(name="second")[2]
        assert len(cluster.server.all(names.CA_ROOT)) == 1
        cluster.server.delete(names.CA_CONFIGURATION, "default")
        await cluster.until(lambda: cluster.condition(name="second")[0] == "True", 30)


async def test_of_two_configurations_of_one_moment_only_one_imports_a_root() -> None:
    cluster = Cluster()
    cluster.policy()
    import_secret(cluster, import_root(not_after=FAR, uris=()))
    provider = {"type": "Builtin", "builtin": {"rootSecretName": "mine"}}
    slow = Fault(user=OPERATOR, times=None, delay=0.005)
    cluster.server.faults.append(slow)
    async with cluster.operator():
        await asyncio.sleep(60)
        for name in ("a", "b"):
            bundle = {"configMapName": name, "clusterTrustBundle": False}
            cluster.configure(name, trustDomain=f"{name}.org", provider=provider, trustBundle=bundle)
        await asyncio.sleep(60)
        said = {cluster.condition(name=name)[1]: name for name in ("a", "b")}
        assert said.keys() == {"Initialised", "InvalidConfiguration"}
        assert len(cluster.server.all(names.CA_ROOT)) == 1
        refused = said["InvalidConfiguration"]
        assert f"CAConfiguration {said['Initialised']!r}" in cluster.condition(name=refused)[2]
        cluster.server.delete(names.CA_CONFIGURATION, said["Initialised"])
        await cluster.until(lambda: cluster.condition(name=refused)[0] == "True", 30)


async def test_imported_secret_replaced_in_place_rotates_to_a_root_of_the_same_name() -> None:
    cluster = Cluster()
    cluster.policy()
    import_secret(cluster, import_root(not_after=FAR))
    cluster.configure(provider={"type": "Builtin", "builtin": {"rootSecretName": "mine"}})
    await asyncio.sleep(60)
    async with cluster.operator():
        await cluster.until_ready()
        before = root_of(cluster)
        other = pki.key("ECDSA 256", "imported later")
        import_secret(cluster, pki.imported_root(other, not_before=START, not_after=FAR), other)
        await cluster.until(lambda: cluster.condition("RotationInProgress")[1] == "Completed", 20)
        after = (cluster.server.find(names.CA_CONFIGURATION, "default") or {})["status"]["activeRoot"]
        assert after != before
        break_glass(cluster, "mine")
        await cluster.until(lambda: cluster.condition()[1] == "InvalidConfiguration", 5)
        cluster.leaf()
        await cluster.until_said("Issued")
        assert cluster.status()["root"] == after


@pytest.mark.parametrize("look", range(1, 7))
async def test_imported_secret_replaced_between_two_looks_at_it_is_imported_as_what_it_is(look: int) -> None:
    cluster = Cluster()
    cluster.policy()
    import_secret(cluster, import_root(not_after=FAR))
    other = pki.key("ECDSA 256", "imported later")
    later = pki.imported_root(other, not_before=START, not_after=FAR)
    looks = itertools.count(1)

    def replace_it(_: RequestInfo) -> None:
        if next(looks) == look:
            import_secret(cluster, later, other)

    cluster.server.faults.append(
        Fault(verb="get", resource=names.SECRET, name="mine", times=None, before=replace_it)
    )
    cluster.configure(provider={"type": "Builtin", "builtin": {"rootSecretName": "mine"}})
    await asyncio.sleep(60)
    async with cluster.operator():
        await cluster.until_ready()
        await asyncio.sleep(30)
        active = (cluster.server.find(names.CA_CONFIGURATION, "default") or {})["status"]["activeRoot"]
        roots = {item["metadata"]["name"]: item["spec"] for item in cluster.server.all(names.CA_ROOT)}
        assert certificates.load_one(roots[active]["certificate"]) == later
        for spec in roots.values():
            print_ = certificates.fingerprint(certificates.load_one(spec["certificate"]))
            assert (spec["source"], spec["keySecretName"]) == (
                "Imported",
                f"meshca-root-default-{print_[:10]}",
            )
