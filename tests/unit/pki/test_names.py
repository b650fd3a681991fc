"""DNS patterns and CIDRs: who may have which further name."""

from __future__ import annotations

import ipaddress

import pytest

from meshca.errors import InvalidError
from meshca.pki.names import DNSPattern, dns_name, ip_allowed, parse_address, parse_network

SERVICE = "{serviceAccount}.{namespace}.svc.cluster.local"


@pytest.mark.parametrize(
    ("pattern", "name", "allowed"),
    [
        (SERVICE, "web.shop.svc.cluster.local", True),
        (SERVICE, "WEB.shop.SVC.cluster.local", True),
        (SERVICE, "db.shop.svc.cluster.local", False),
        (SERVICE, "web.bank.svc.cluster.local", False),
        (SERVICE, "web.shop.svc.cluster.local.", False),
        (SERVICE, "x.web.shop.svc.cluster.local", False),
        (SERVICE, "shop.svc.cluster.local", False),
        ("*.{namespace}.example.org", "anything.shop.example.org", True),
        ("*.{namespace}.example.org", "a.b.shop.example.org", False),
        ("*.{namespace}.example.org", "shop.example.org", False),
        ("*.{namespace}.example.org", "*.shop.example.org", False),
        ("{serviceAccount}.{clusterName}.mesh", "web.east.mesh", True),
        ("{serviceAccount}.{clusterName}.mesh", "web.west.mesh", False),
        ("localhost", "localhost", True),
        ("localhost", "localhost.", False),
        ("localhost", "", False),
        ("localhost", "loc\u017fhost", False),
        ("*", "anything", True),
    ],
)
def test_a_pattern_allows_whole_labels_only(pattern: str, name: str, *, allowed: bool) -> None:
    found = DNSPattern.parse(pattern).allows(
        name, namespace="shop", service_account="web", cluster_name="east"
    )
    assert found is allowed


@pytest.mark.parametrize("pattern", ["{serviceAccount}.mesh", "*.{serviceAccount}.mesh", "*.*.mesh"])
def test_an_account_with_dots_cannot_spread_over_several_labels(pattern: str) -> None:
    found = DNSPattern.parse(pattern)
    assert found.allows("x.web.mesh", namespace="n", service_account="x.web", cluster_name="c") is (
        pattern == "*.*.mesh"
    )


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "a..b",
        ".a",
        "a.",
        "A.example",
        "x-{namespace}.example",
        "{pod}.example",
        "{namespace",
        "**.example",
        "a*.example",
        "-a.example",
        "a_b.example",
        "a" * 64,
        "ä.example",
        ".".join(["a"] * 200),
    ],
)
def test_a_malformed_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidError, match=r"^dnsNames: "):
        DNSPattern.parse(pattern)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "*.example.org",
        "a_b.example.org",
        "-a",
        "a-",
        "a b",
        "ä.example",
        "x\n",
        "10.0.0.1",
        "a" * 64,
        ".".join(["abcdefg"] * 32),
    ],
)
def test_220_a_malformed_dns_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidError, match=r"^DNS name "):
        dns_name(name)


def test_a_dns_name_comes_back_in_lower_case() -> None:
    assert dns_name("Web.Example.ORG") == "web.example.org"
    assert dns_name("1a.2b") == "1a.2b"
    assert dns_name("a" * 63) == "a" * 63


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.1.2.3", True),
        ("10.255.255.255", True),
        ("11.0.0.0", False),
        ("fd00::1", True),
        ("fe80::1", False),
        ("::ffff:10.1.2.3", False),
    ],
)
def test_220_an_address_must_lie_in_a_network(address: str, *, allowed: bool) -> None:
    networks = [parse_network("10.0.0.0/8"), parse_network("fd00::/8")]
    assert ip_allowed(parse_address(address), networks) is allowed


def test_no_networks_allow_no_address() -> None:
    assert not ip_allowed(ipaddress.ip_address("10.0.0.1"), [])


@pytest.mark.parametrize(
    "text", ["", "10.0.0.1/8", "10.0.0.0/33", "example.org", "10.0.0.0/8 ", "fe80::%eth0/64"]
)
def test_a_malformed_network_is_refused(text: str) -> None:
    with pytest.raises(InvalidError, match=r"^ipAddresses: .* is not a CIDR"):
        parse_network(text)


@pytest.mark.parametrize("text", ["", "10.0.0", "010.0.0.1", "10.0.0.1/32", "web", "fe80::1%eth0"])
def test_a_malformed_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidError, match=r"^IP address"):
        parse_address(text)


def test_a_name_and_a_pattern_of_253_bytes_are_the_longest() -> None:
    longest = ".".join(["a" * 62] * 4) + ".b"
    assert len(longest) == 253
    assert dns_name(longest) == longest
    assert DNSPattern.parse(longest).allows(longest, namespace="n", service_account="s", cluster_name="c")
    for malformed in (dns_name, DNSPattern.parse):
        with pytest.raises(InvalidError):
            malformed(longest + "b")
