"""A spec with every default applied, in the terms of the PKI."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from meshca.errors import InvalidError
from meshca.pki.profile import RootProfile, SignerProfile
from meshca.planning.desired import PrimaryRef
from meshca.planning.naming import Wish, grant
from tests.fakes import pki
from tests.fakes.planning import authority, desired

HOUR = timedelta(hours=1)


def test_defaults() -> None:
    wish = desired(trustDomain=None)
    assert wish.trust_domain is None
    assert (wish.cluster_name, wish.provider, wish.imported_secret) == ("default", "Builtin", "")
    assert wish.key == pki.spec("ECDSA 256")
    assert (wish.root_ttl, wish.root_renew_before) == (87600 * HOUR, None)
    assert (wish.intermediate_ttl, wish.leaf_ttl, wish.leaf_max_ttl) == (8760 * HOUR, 72 * HOUR, 72 * HOUR)
    assert (wish.csr_max_per_second, wish.csr_max_concurrent, wish.reissue_per_second) == (0, 0, 50)
    assert (wish.bundle_name, wish.cluster_trust_bundle) == ("meshca-trust-bundle", True)
    assert wish.naming.namespaces.matches({})
    assert wish.naming.dns_patterns == ()


def test_everything_given() -> None:
    wish = desired(
        clusterName="east",
        provider={"type": "Builtin", "builtin": {"rootSecretName": "mine"}},
        privateKey={"algorithm": "RSA", "size": 3072},
        rotation={"trigger": "t", "reissuePerSecond": 2},
        identity={"dnsNames": ["*.example.org"], "ipAddresses": ["10.0.0.0/8"]},
        limits={"csrMaxPerSecond": 0.5, "csrMaxConcurrent": 3},
        trustBundle={"configMapName": "b", "clusterTrustBundle": False},
    )
    assert wish.imported_secret == "mine"
    assert wish.key == pki.spec("RSA 3072")
    assert (wish.trigger, wish.reissue_per_second) == ("t", 2)
    assert (wish.csr_max_per_second, wish.csr_max_concurrent) == (0.5, 3)
    assert (wish.bundle_name, wish.cluster_trust_bundle) == ("b", False)


def test_a_secondary_names_its_primary() -> None:
    primary = {"kubeconfigSecretName": "s", "bundleDigest": "a" * 64}
    wish = desired(federation={"primary": primary})
    assert wish.primary == PrimaryRef(secret="s", configuration="default", digest="a" * 64)
    assert desired(federation={}).primary is None


def test_lives_of_more_than_a_century_are_those_that_can_be_made() -> None:
    wish = desired(root={"ttl": "999999h"}, intermediate={"ttl": "900000h"})
    assert RootProfile(wish.root_ttl).ttl == SignerProfile(wish.intermediate_ttl).ttl == 876600 * HOUR


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"identity": {"pathTemplate": "/no/words"}}, id="template"),
        pytest.param({"identity": {"dnsNames": ["UPPER"]}}, id="pattern"),
        pytest.param({"identity": {"ipAddresses": ["10.0.0.1/8"]}}, id="network"),
        pytest.param({"trustDomain": "NOT.one"}, id="trust domain"),
    ],
)
def test_what_cannot_be_served_is_invalid(spec: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        desired(**spec)


def test_142_path_decides_and_case_of_scheme_and_host_does_not() -> None:
    wish = Wish(uris=("SPIFFE://EXAMPLE.org/ns/shop/sa/web",), dns_names=(), ip_addresses=())
    granted = grant(authority(), namespace="shop", account="web", wish=wish)
    assert granted.spiffe_id == pki.SPIFFE_ID
