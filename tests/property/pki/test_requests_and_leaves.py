"""Every allowed request issues and verifies; no disallowed one does."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from meshca.errors import DeniedError, InvalidError, MeshCAError, TransientError
from meshca.pki import certificates, chain, csr, issuance, keys
from meshca.pki.identity import PathTemplate, TrustDomain
from meshca.pki.names import DNSPattern, dns_name, ip_allowed, parse_network
from meshca.pki.profile import LeafProfile
from tests.fakes.pki import LEAF_SPECS, NOW, SPIFFE_ID, TRUST_DOMAIN, authority, key, request, uri

if TYPE_CHECKING:
    import ipaddress

OURS = authority()
LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
NAMESPACES = LABEL
ACCOUNTS = st.lists(LABEL, min_size=1, max_size=3).map(".".join)
SECONDS = st.integers(min_value=3600, max_value=365 * 24 * 3600).map(lambda value: timedelta(seconds=value))
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).filter(lambda found: "%" not in str(found))


@given(
    spec=st.sampled_from(LEAF_SPECS),
    namespace=NAMESPACES,
    account=ACCOUNTS,
    dns=st.lists(
        ACCOUNTS.filter(lambda name: not name.rsplit(".", 1)[-1].isdigit()), max_size=3, unique=True
    ),
    addresses=st.lists(ADDRESSES, max_size=3, unique=True),
    ttl=SECONDS,
)
def test_every_allowed_request_issues_and_verifies(
    *,
    spec: str,
    namespace: str,
    account: str,
    dns: list[str],
    addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address],
    ttl: timedelta,
) -> None:
    granted = PathTemplate.parse("/ns/{namespace}/sa/{serviceAccount}").render(
        TRUST_DOMAIN, namespace=namespace, service_account=account, cluster_name="default"
    )
    wishes = [x509.DNSName(name) for name in dns] + [x509.IPAddress(address) for address in addresses]
    found = csr.parse(request(key(spec, "leaf"), uri(granted.uri), *wishes))
    assert granted.matches(found.uris[0])
    leaf = issuance.leaf_certificate(
        found.public_key,
        issuer_cert=OURS.signer,
        issuer_key=OURS.signer_key,
        spiffe_id=granted,
        dns_names=found.dns_names,
        ip_addresses=found.ip_addresses,
        ttl=ttl,
        now=NOW,
    )
    assert chain.verify(leaf, [OURS.signer], [OURS.root], at=NOW) == [leaf, OURS.signer, OURS.root]
    assert certificates.uris_of(leaf) == (granted.uri,)
    assert keys.matches(key(spec, "leaf"), leaf)
    assert leaf.not_valid_after_utc == min(NOW + ttl, OURS.signer.not_valid_after_utc)


@given(one=st.tuples(NAMESPACES, ACCOUNTS), other=st.tuples(NAMESPACES, ACCOUNTS))
def test_i9_two_accounts_never_share_an_id(one: tuple[str, str], other: tuple[str, str]) -> None:
    for text in ("/ns/{namespace}/sa/{serviceAccount}", "/{serviceAccount}/{clusterName}-x/{namespace}"):
        template = PathTemplate.parse(text)
        first, second = (
            template.render(TRUST_DOMAIN, namespace=namespace, service_account=account, cluster_name="c")
            for namespace, account in (one, other)
        )
        assert (first == second) is (one == other)
        assert first.matches(second.uri) is (one == other)


@given(name=ACCOUNTS, namespace=NAMESPACES, account=ACCOUNTS)
def test_a_dns_name_is_allowed_exactly_when_it_is_the_accounts(
    name: str, namespace: str, account: str
) -> None:
    pattern = DNSPattern.parse("{serviceAccount}.{namespace}.svc")
    own = f"{account}.{namespace}.svc"
    values = {"namespace": namespace, "service_account": account, "cluster_name": "c"}
    assert pattern.allows(own, **values) is ("." not in account)
    other = f"{name}.{namespace}.svc"
    assert not pattern.allows(other, **values) or other == own


@given(address=ADDRESSES)
def test_an_address_is_in_its_own_network_and_no_other(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    own = parse_network(f"{address}/{address.max_prefixlen}")
    assert ip_allowed(address, [own])
    assert not ip_allowed(address, [parse_network("192.0.2.0/24"), parse_network("2001:db8::/32")]) or (
        str(address).startswith(("192.0.2.", "2001:db8:"))
    )


@given(wanted=st.timedeltas(), ttl=st.integers(1, 100), extra=st.integers(0, 100))
def test_a_chosen_lifetime_is_inside_the_bounds_or_denied(wanted: timedelta, ttl: int, extra: int) -> None:
    hour = timedelta(hours=1)
    profile = LeafProfile(ttl * hour, (ttl + extra) * hour)
    try:
        chosen = profile.choose(wanted)
    except DeniedError:
        assert not hour <= wanted <= profile.max_ttl
    else:
        assert chosen == wanted
        assert hour <= chosen <= profile.max_ttl


@given(
    ttl=st.timedeltas(min_value=timedelta(days=-2), max_value=timedelta(days=800)),
    passed=st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=400)),
)
def test_i4_no_leaf_outlives_its_signer_or_is_not_worth_making(ttl: timedelta, passed: timedelta) -> None:
    now = NOW + passed
    ends = OURS.signer.not_valid_after_utc
    try:
        leaf = OURS.leaf(ttl=ttl, now=now)
    except InvalidError:
        assert ttl <= timedelta(seconds=1) or ttl > timedelta(days=365)
    except TransientError:
        assert ends - now < ttl * 0.1 + timedelta(seconds=1) or now + timedelta(seconds=1) > ends
    else:
        assert leaf.not_valid_after_utc <= ends
        assert leaf.not_valid_after_utc - now >= min(ttl, ttl * 0.1) - timedelta(seconds=1)


@given(text=st.text(max_size=40), other=ACCOUNTS)
def test_no_other_trust_domain_gets_a_leaf(text: str, other: str) -> None:
    for name in (text, other, f"{TRUST_DOMAIN}.{other}"):
        try:
            domain = TrustDomain.parse(name)
        except InvalidError:
            continue
        foreign = PathTemplate.parse("/{namespace}/{serviceAccount}").render(
            domain, namespace="n", service_account="s", cluster_name="c"
        )
        with pytest.raises(InvalidError, match="X-15"):
            OURS.leaf(spiffe_id=foreign)


@given(name=st.text(max_size=30))
def test_only_host_names_get_into_a_leaf(name: str) -> None:
    try:
        wanted = dns_name(name)
    except InvalidError:
        wanted = ""
    try:
        leaf = issuance.leaf_certificate(
            key("ECDSA 256", "leaf").public_key(),
            issuer_cert=OURS.signer,
            issuer_key=OURS.signer_key,
            spiffe_id=SPIFFE_ID,
            dns_names=[name],
            ttl=timedelta(hours=1),
            now=NOW,
        )
    except MeshCAError:
        assert not wanted
    else:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [wanted]
