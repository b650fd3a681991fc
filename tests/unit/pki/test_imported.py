"""A user's own root: row by row what is refused, each with a text of its own."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshca.errors import InvalidError
from meshca.pki import certificates, keys, pem
from meshca.pki.chain import check_imported_root
from meshca.pki.identity import TrustDomain
from tests.fakes.pki import (
    ANY_CA_USAGE,
    CA_SPECS,
    DAY,
    HOUR,
    NOW,
    TRUST_DOMAIN,
    authority,
    craft,
    dsa_key,
    imported_root,
    key,
    make_root,
)

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = key("ECDSA 256", "imported")
KEY_PEM = keys.to_pem(KEY).decode()
GARBAGE = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n"


def _pem(**changes: Any) -> str:
    return certificates.to_pem(imported_root(KEY, **changes))


def _check(certificate: str | bytes, private: str | bytes = KEY_PEM, **changes: Any) -> Any:
    return check_imported_root(certificate, private, **{"now": NOW, "trust_domain": TRUST_DOMAIN, **changes})


@pytest.mark.parametrize("text", CA_SPECS)
def test_033_a_root_of_each_kind_of_key_is_used_as_it_is(text: str) -> None:
    mine = key(text, "imported")
    root = imported_root(mine)
    certificate, private = _check(certificates.to_pem(root), keys.to_pem(mine))
    assert certificate == root
    assert private.public_key() == mine.public_key()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"path_length": 2},
        {"path_length": 5},
        {"uris": ()},
        {"not_after": NOW + HOUR},
        {"not_before": NOW},
        {"replace": {x509.AuthorityKeyIdentifier: None}},
        {
            "replace": {
                x509.ExtendedKeyUsage: (
                    x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                    True,
                )
            }
        },
    ],
    ids=[
        "plain",
        "pathLen 2",
        "pathLen 5",
        "no URI",
        "an hour left",
        "valid from now",
        "no AKI",
        "both usages",
    ],
)
def test_a_root_that_peers_accept_is_accepted(changes: dict[str, Any]) -> None:
    certificate, private = _check(_pem(**changes))
    assert keys.matches(private, certificate)


def test_without_a_trust_domain_of_its_own_a_configuration_takes_the_roots() -> None:
    certificate, _ = _check(_pem(uris=("spiffe://corp.example",)), trust_domain=None)
    assert certificates.trust_domain_of(certificate) == TrustDomain("corp.example")


def test_028_comments_and_headers_around_both_do_not_matter() -> None:
    certificate, _ = _check(f"Bag Attributes\n\n{_pem()}\n".encode(), f"# key\n{KEY_PEM}")
    assert keys.matches(KEY, certificate)


def _signed_by_a_stranger() -> str:
    root = imported_root(KEY)
    made = craft(
        KEY.public_key(),
        key("ECDSA 256", "stranger"),
        {found.oid: (found.value, found.critical) for found in root.extensions},
        subject="somebody's root",
    )
    return certificates.to_pem(made)


def _usage(kind: x509.ObjectIdentifier) -> dict[str, Any]:
    return {"replace": {x509.ExtendedKeyUsage: (x509.ExtendedKeyUsage([kind]), False)}}


def _instead(kind: type[x509.ExtensionType], value: Any) -> dict[str, Any]:
    return {"replace": {kind: value}}


def _of(private: Any, **changes: Any) -> Callable[[], str]:
    return lambda: certificates.to_pem(imported_root(private(), **changes))


BASIC = x509.BasicConstraints(ca=True, path_length=None)
ROWS: list[tuple[str, Callable[[], str], str]] = [
    ("blank", lambda: " \n", "it is blank"),
    ("garbage", lambda: "garbage", "PEM: no CERTIFICATE block found"),
    ("garbage PEM", lambda: GARBAGE, "it cannot be decoded as X.509"),
    ("two", lambda: _pem() + _pem(), "2 CERTIFICATE blocks where exactly one is expected"),
    ("key instead", lambda: KEY_PEM, "a private key where only CERTIFICATE blocks belong"),
    (
        "not yet valid",
        lambda: _pem(not_before=NOW + HOUR),
        "it is not yet valid, before 2030-01-01T13:00:00Z",
    ),
    ("expired", lambda: _pem(not_after=NOW), "it has expired at 2030-01-01T12:00:00Z"),
    ("SHA-224", lambda: _pem(algorithm=hashes.SHA224()), "ECDSA_WITH_SHA224 is not allowed"),
    ("DSA", _of(dsa_key), "key algorithm DSA is not supported"),
    ("RSA 1024", _of(lambda: rsa.generate_private_key(65537, 1024)), "CA key RSA 1024 is not allowed"),
    ("RSA 2500", _of(lambda: rsa.generate_private_key(65537, 2500)), "CA key RSA 2500 is not allowed"),
    ("exponent 3", _of(lambda: rsa.generate_private_key(3, 2048)), "unsafe public exponent"),
    ("P-192", _of(lambda: ec.generate_private_key(ec.SECP192R1())), "curve secp192r1 is not supported"),
    ("not a CA", lambda: _pem(**_instead(x509.BasicConstraints, None)), "it is not a CA certificate"),
    (
        "CA:FALSE",
        lambda: _pem(
            **_instead(x509.BasicConstraints, (x509.BasicConstraints(ca=False, path_length=None), True))
        ),
        "it is not a CA certificate",
    ),
    ("no keyUsage", lambda: _pem(**_instead(x509.KeyUsage, None)), "keyCertSign is missing"),
    ("not critical", lambda: _pem(**_instead(x509.BasicConstraints, (BASIC, False))), "must be critical"),
    (
        "usage not critical",
        lambda: _pem(**_instead(x509.KeyUsage, (ANY_CA_USAGE, False))),
        "must be critical",
    ),
    (
        "no key id",
        lambda: _pem(**_instead(x509.SubjectKeyIdentifier, None)),
        "it has no subjectKeyIdentifier",
    ),
    ("no subject", lambda: _pem(subject=""), "its subject is empty"),
    ("pathLen 0", lambda: _pem(path_length=0), "its pathLen is 0; it must be absent or at least 2"),
    ("pathLen 1", lambda: _pem(path_length=1), "its pathLen is 1; it must be absent or at least 2"),
    ("issued", lambda: certificates.to_pem(authority().signer), "its issuer is not its subject"),
    ("not its own signature", _signed_by_a_stranger, "its signature does not verify under its own key"),
    ("X-32 two URIs", lambda: _pem(uris=("spiffe://example.org",) * 2), "it has 2 URIs"),
    ("X-32 URI with a path", lambda: _pem(uris=("spiffe://example.org/x",)), "its URI has a path"),
    ("X-32 other domain", lambda: _pem(uris=("spiffe://a",)), "its trust domain is a, not example.org"),
    ("X-32 no SPIFFE ID", lambda: _pem(uris=("https://a",)), "does not start with spiffe://"),
    ("server only", lambda: _pem(**_usage(ExtendedKeyUsageOID.SERVER_AUTH)), "leaves out server or client"),
    (
        "X-27",
        lambda: _pem(
            **_instead(x509.NameConstraints, (x509.NameConstraints([x509.DNSName("a")], None), True))
        ),
        "it has name constraints",
    ),
    (
        "critical",
        lambda: _pem(**_instead(x509.OCSPNoCheck, (x509.OCSPNoCheck(), True))),
        "must not be critical",
    ),
]


@pytest.mark.parametrize(("make", "text"), [row[1:] for row in ROWS], ids=[f"027 {row[0]}" for row in ROWS])
def test_a_root_that_peers_would_refuse_is_refused_by_name(make: Callable[[], str], text: str) -> None:
    with pytest.raises(InvalidError) as caught:
        _check(make())
    assert caught.value.message.startswith("root certificate: ")
    assert text in caught.value.message


def test_027_sha_1_is_refused() -> None:
    der = certificates.to_der(imported_root(key("RSA 2048", "imported")))
    weak = der.replace(bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105"))
    with pytest.raises(InvalidError, match="RSA_WITH_SHA1 is not allowed"):
        _check(pem.encode(weak))


@pytest.mark.parametrize(
    ("private", "text"),
    [
        (" \n", "it is blank"),
        ("garbage", "is not one unencrypted PEM key"),
        (GARBAGE, "is not one unencrypted PEM key"),
        (KEY_PEM[:100], "is not one unencrypted PEM key"),
        (keys.to_pem(key("ECDSA 256", "stranger")).decode(), "it does not belong to the root certificate"),
        (keys.to_pem(key("Ed25519")), "it does not belong to the root certificate"),
    ],
    ids=["blank", "garbage", "certificate", "cut off", "wrong key", "wrong kind of key"],
)
def test_027_a_wrong_key_is_refused_and_nothing_of_it_is_shown(private: str | bytes, text: str) -> None:
    with pytest.raises(InvalidError) as caught:
        _check(_pem(), private)
    assert caught.value.message.startswith("root key: ")
    assert text in caught.value.message
    assert KEY_PEM.splitlines()[1][:10] not in caught.value.message


def test_027_a_root_that_expires_too_soon_for_the_caller_is_refused() -> None:
    text = certificates.to_pem(make_root(KEY, ttl=10 * DAY))
    _check(text, min_remaining=10 * DAY)
    with pytest.raises(
        InvalidError, match=r"expires too soon, at 2030-01-11T12:00:00Z; at least 240h1s must be left"
    ):
        _check(text, min_remaining=10 * DAY + timedelta(seconds=1))
