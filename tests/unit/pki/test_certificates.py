"""Reading certificates: facts, and that nothing broken gets through."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed448

from meshca.errors import InvalidError
from meshca.pki import certificates, keys
from meshca.pki.identity import TrustDomain
from tests.fakes.pki import (
    NOW,
    SPIFFE_ID,
    TRUST_DOMAIN,
    authority,
    craft,
    dsa_key,
    imported_root,
    key,
    spec,
    uri,
)

OURS = authority()
LEAF = OURS.leaf()


def test_031_the_facts_of_a_leaf() -> None:
    facts = certificates.facts(LEAF)
    assert facts.fingerprint == hashlib.sha256(certificates.to_der(LEAF)).hexdigest()
    assert facts.subject == ""
    assert facts.subject_key_id == keys.subject_key_id(key("ECDSA 256", "leaf").public_key()).hex()
    assert facts.authority_key_id == keys.subject_key_id(OURS.signer_key.public_key()).hex()
    assert int(facts.serial, 16) == LEAF.serial_number
    assert (facts.not_before, facts.not_after) == (LEAF.not_valid_before_utc, LEAF.not_valid_after_utc)
    assert facts.not_after.tzinfo is not None
    assert not facts.is_ca
    assert facts.path_length is None
    assert facts.uris == (SPIFFE_ID.uri,)
    assert facts.key_spec == spec("ECDSA 256")
    info = keys.public_key_info(key("ECDSA 256", "leaf").public_key())
    assert facts.public_key_sha256 == hashlib.sha256(info).hexdigest()


@pytest.mark.parametrize("text", ["ECDSA 224", "ECDSA 384", "RSA 2048", "Ed25519"])
def test_031_the_facts_of_a_signer(text: str) -> None:
    facts = certificates.facts(authority(text).signer)
    assert facts.is_ca
    assert facts.path_length == 0
    assert facts.key_spec == spec(text)
    assert facts.uris == (TRUST_DOMAIN.uri,)
    assert "O=example.org" in facts.subject


def test_a_certificate_with_nothing_in_it_has_empty_facts() -> None:
    facts = certificates.facts(craft(key().public_key(), key(), {}))
    assert (facts.subject_key_id, facts.authority_key_id, facts.uris) == ("", "", ())
    assert not facts.is_ca
    assert facts.path_length is None


def test_an_authority_key_id_without_a_key_id_counts_as_none() -> None:
    aki = x509.AuthorityKeyIdentifier(None, [x509.DNSName("x")], 1)
    made = craft(key().public_key(), key(), {x509.AuthorityKeyIdentifier: (aki, False)})
    assert certificates.authority_key_id_of(made) == b""


def test_one_is_read_where_one_is_expected() -> None:
    assert certificates.load_one(certificates.to_pem(LEAF)) == LEAF
    assert certificates.load_all(certificates.to_pem(LEAF, OURS.signer)) == [LEAF, OURS.signer]
    with pytest.raises(InvalidError, match="2 CERTIFICATE blocks where exactly one is expected"):
        certificates.load_one(certificates.to_pem(LEAF, OURS.signer))
    with pytest.raises(InvalidError, match="2 certificates, more than 1"):
        certificates.load_all(certificates.to_pem(LEAF, OURS.signer), limit=1)


def _unknown(kind: type[Any], value: bytes) -> x509.Certificate:
    extension = x509.UnrecognizedExtension(kind.oid, value)
    return craft(key().public_key(), key(), {kind: (extension, False)})


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"garbage",
        b"0\x00",
        certificates.to_der(LEAF)[:-1],
        certificates.to_der(LEAF) + b"\x00",
        certificates.to_der(_unknown(x509.SubjectAlternativeName, b"\x04\x01x")),
        certificates.to_der(_unknown(x509.BasicConstraints, b"garbage")),
        certificates.to_der(_unknown(x509.SubjectKeyIdentifier, b"")),
    ],
    ids=["empty", "text", "empty DER", "cut off", "more after", "broken names", "broken basic", "broken id"],
)
def test_159_what_is_no_certificate_is_refused_at_once(der: bytes) -> None:
    with pytest.raises(InvalidError, match=r"cannot be decoded as X\.509"):
        certificates.load(der)


@pytest.mark.parametrize("make", [dsa_key, ed448.Ed448PrivateKey.generate])
def test_a_certificate_of_a_foreign_kind_of_key_is_refused_by_name(make: Any) -> None:
    der = certificates.to_der(craft(make().public_key(), key(), {}))
    with pytest.raises(InvalidError, match=r"key algorithm (DSA|Ed448) is not supported"):
        certificates.load(der)


@pytest.mark.parametrize(
    ("uris", "message"),
    [
        (("spiffe://a", "spiffe://a"), "it has 2 URIs where at most one is allowed"),
        (("spiffe://a/x",), "its URI has a path"),
        (("https://a",), "does not start with spiffe://"),
        (("spiffe://A",), "lower-case"),
    ],
)
def test_x_21_x_32_a_ca_with_another_kind_of_uri_has_no_trust_domain(
    uris: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InvalidError, match=message):
        certificates.trust_domain_of(imported_root(key(), uris=uris))


def test_the_trust_domain_of_a_ca_is_its_uri() -> None:
    assert certificates.trust_domain_of(imported_root(key(), uris=("spiffe://a.b",))) == TrustDomain("a.b")
    assert certificates.trust_domain_of(imported_root(key(), uris=())) is None


def test_the_names_of_a_certificate_do_not_mix_kinds() -> None:
    names = x509.SubjectAlternativeName([x509.DNSName("a"), uri("spiffe://a/b")])
    made = craft(key().public_key(), key(), {x509.SubjectAlternativeName: (names, True)}, not_before=NOW)
    assert certificates.uris_of(made) == ("spiffe://a/b",)
