"""The lint: each rule has a certificate that breaks it, made past all our templates."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshca.errors import InvalidError
from meshca.pki import certificates, keys, lint, template
from meshca.pki.identity import SPIFFEID, TrustDomain
from meshca.pki.issuer import issuer_of
from meshca.pki.prepared import tlv
from tests.fakes.pki import (
    ANY_CA_USAGE,
    DAY,
    HOUR,
    NOW,
    SPIFFE_ID,
    TRUST_DOMAIN,
    authority,
    craft,
    dsa_key,
    imported_root,
    key,
    uri,
)

if TYPE_CHECKING:
    from collections.abc import Callable

OURS = authority()
NEW = authority("ECDSA 256", "new")
ROOT, SIGNER = issuer_of(OURS.root), issuer_of(OURS.signer)
PUBLIC = key("ECDSA 256", "leaf").public_key()
BOTH = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
WEB, TEN = x509.DNSName("web"), ipaddress.ip_address("10.0.0.1")


def _usage(**changes: bool) -> x509.KeyUsage:
    flags = {
        "digital_signature": True,
        "content_commitment": False,
        "key_encipherment": False,
        "data_encipherment": False,
        "key_agreement": False,
        "key_cert_sign": False,
        "crl_sign": False,
        "encipher_only": False,
        "decipher_only": False,
    }
    return x509.KeyUsage(**{**flags, **changes})


def _names(*names: x509.GeneralName) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([uri(SPIFFE_ID.uri), *names])


LEAF: dict[type[x509.ExtensionType], Any] = {
    x509.BasicConstraints: (x509.BasicConstraints(ca=False, path_length=None), True),
    x509.KeyUsage: (_usage(), True),
    x509.ExtendedKeyUsage: (x509.ExtendedKeyUsage(BOTH), False),
    x509.AuthorityKeyIdentifier: (SIGNER.authority_key_id, False),
    x509.SubjectAlternativeName: (_names(), True),
}


def _leaf(
    extensions: dict[Any, Any] | None = None, *, public: Any = PUBLIC, **changes: Any
) -> x509.Certificate:
    arguments = {"issuer": OURS.signer.subject, "signer": OURS.signer_key, **changes}
    return craft(public, extensions={**LEAF, **(extensions or {})}, **arguments)


def _lint_leaf(certificate: x509.Certificate, **changes: Any) -> None:
    lint.lint_leaf(certificate, SIGNER, **{"public_key": PUBLIC, "spiffe_id": SPIFFE_ID, **changes})


def test_a_right_leaf_passes_and_so_does_one_with_a_subject_or_plain_extras() -> None:
    _lint_leaf(_leaf())
    _lint_leaf(_leaf({x509.SubjectAlternativeName: (_names(), False)}, subject="web"))
    _lint_leaf(_leaf(not_after=OURS.signer.not_valid_after_utc))
    _lint_leaf(_leaf({x509.OCSPNoCheck: (x509.OCSPNoCheck(), False)}))
    _lint_leaf(_leaf({x509.KeyUsage: (_usage(key_encipherment=True), True)}))
    _lint_leaf(
        _leaf({x509.SubjectAlternativeName: (_names(WEB, x509.IPAddress(TEN)), True)}),
        dns_names=["web"],
        ip_addresses=[TEN],
    )


@pytest.mark.parametrize(
    ("extensions", "finding"),
    [
        pytest.param(
            {x509.SubjectAlternativeName: (_names(uri("spiffe://example.org/other")), True)},
            "X-01",
            id="X-01 two",
        ),
        pytest.param(
            {x509.SubjectAlternativeName: (x509.SubjectAlternativeName([WEB]), True)}, "X-01", id="X-01 none"
        ),
        pytest.param({x509.SubjectAlternativeName: None}, "X-01", id="X-01 no names"),
        pytest.param(
            {
                x509.SubjectAlternativeName: (
                    x509.SubjectAlternativeName([uri("spiffe://example.org/x")]),
                    True,
                )
            },
            "X-01",
            id="X-01 other",
        ),
        pytest.param(
            {
                x509.SubjectAlternativeName: (
                    x509.SubjectAlternativeName([uri("SPIFFE://example.org/ns")]),
                    True,
                )
            },
            "X-01",
            id="ID-01 upper case",
        ),
        pytest.param({x509.SubjectAlternativeName: (_names(WEB), True)}, "X-02", id="X-02 DNS"),
        pytest.param(
            {x509.SubjectAlternativeName: (_names(x509.IPAddress(TEN)), True)}, "X-02", id="X-02 IP"
        ),
        pytest.param(
            {x509.SubjectAlternativeName: (_names(x509.RFC822Name("a@example.org")), True)},
            "X-02",
            id="X-02 mail",
        ),
        pytest.param({x509.SubjectAlternativeName: (_names(), False)}, "X-04", id="X-04"),
        pytest.param({x509.BasicConstraints: None}, "X-05", id="X-05 missing"),
        pytest.param(
            {x509.BasicConstraints: (x509.BasicConstraints(ca=True, path_length=None), True)},
            "X-05",
            id="X-05 CA",
        ),
        pytest.param(
            {x509.BasicConstraints: (x509.BasicConstraints(ca=False, path_length=None), False)},
            "X-05",
            id="X-05 not critical",
        ),
        pytest.param({x509.KeyUsage: None}, "X-06", id="X-06 missing"),
        pytest.param({x509.KeyUsage: (_usage(), False)}, "X-06", id="X-06 not critical"),
        pytest.param(
            {x509.KeyUsage: (_usage(digital_signature=False, key_encipherment=True), True)}, "X-07", id="X-07"
        ),
        pytest.param({x509.KeyUsage: (_usage(key_cert_sign=True), True)}, "X-08", id="X-08 certificates"),
        pytest.param({x509.KeyUsage: (_usage(crl_sign=True), True)}, "X-08", id="X-08 CRLs"),
        pytest.param({x509.ExtendedKeyUsage: None}, "X-10", id="X-10"),
        pytest.param(
            {x509.ExtendedKeyUsage: (x509.ExtendedKeyUsage(BOTH[:1]), False)}, "X-11", id="X-11 server"
        ),
        pytest.param(
            {x509.ExtendedKeyUsage: (x509.ExtendedKeyUsage(BOTH[1:]), False)}, "X-11", id="X-11 client"
        ),
        pytest.param(
            {
                x509.ExtendedKeyUsage: (
                    x509.ExtendedKeyUsage([*BOTH, ExtendedKeyUsageOID.CODE_SIGNING]),
                    False,
                )
            },
            "X-11",
            id="X-11 more",
        ),
        pytest.param({x509.AuthorityKeyIdentifier: None}, "X-14 authority", id="X-14 missing"),
        pytest.param(
            {x509.AuthorityKeyIdentifier: (ROOT.authority_key_id, False)}, "X-14 authority", id="X-14"
        ),
        pytest.param({x509.OCSPNoCheck: (x509.OCSPNoCheck(), True)}, "must not be critical", id="critical"),
    ],
)
def test_a_leaf_with_a_wrong_extension_fails(extensions: dict[Any, Any], finding: str) -> None:
    with pytest.raises(InvalidError, match=finding) as caught:
        _lint_leaf(_leaf(extensions))
    assert caught.value.reason == "LintFailed"


@pytest.mark.parametrize(
    ("make", "finding"),
    [
        pytest.param(lambda: _leaf(public=NEW.root_key.public_key()), "X-12", id="X-12"),
        pytest.param(
            lambda: _leaf(public=key("ECDSA 224").public_key()), "leaf key ECDSA 224 is not", id="weak"
        ),
        pytest.param(lambda: _leaf(not_after=OURS.signer.not_valid_after_utc + HOUR), "X-13", id="X-13"),
        pytest.param(lambda: _leaf(not_before=NOW, not_after=NOW), "validity is empty", id="empty validity"),
        pytest.param(lambda: _leaf(serial=42), "X-14 the serial", id="X-14 a counter"),
        pytest.param(lambda: _leaf(issuer=OURS.root.subject), "subject of the issuer", id="issuer"),
        pytest.param(
            lambda: _leaf(algorithm=hashes.SHA224()), "ECDSA_WITH_SHA224 is not allowed", id="SHA-224"
        ),
        pytest.param(
            lambda: _leaf(signer=key("RSA 2048")), "does not fit a key of algorithm ECDSA", id="150"
        ),
    ],
)
def test_a_leaf_with_a_wrong_field_fails(make: Callable[[], x509.Certificate], finding: str) -> None:
    with pytest.raises(InvalidError, match=finding):
        _lint_leaf(make())


@pytest.mark.parametrize(
    ("granted", "finding"),
    [
        ({"spiffe_id": SPIFFEID.parse("spiffe://other.example/x")}, "X-15"),
        ({"spiffe_id": SPIFFEID(TRUST_DOMAIN, "")}, "X-03"),
        ({"dns_names": ["web"]}, "X-02"),
        ({"ip_addresses": [TEN]}, "X-02"),
    ],
    ids=["X-15", "X-03", "X-02 DNS", "X-02 IP"],
)
def test_a_leaf_that_is_not_what_was_granted_fails(granted: dict[str, Any], finding: str) -> None:
    with pytest.raises(InvalidError, match=finding):
        _lint_leaf(_leaf(), **granted)


def test_every_finding_is_in_the_text() -> None:
    with pytest.raises(InvalidError, match=r"fails its lint: .*X-05 .*; X-06 .*; X-10 .*; X-01 "):
        _lint_leaf(_leaf(dict.fromkeys(LEAF)))


# --- CA certificates ---------------------------------------------------------------------------


def _plain(*, critical: bool = True, **changes: Any) -> tuple[x509.BasicConstraints, bool]:
    return (x509.BasicConstraints(**{"ca": True, "path_length": None, **changes}), critical)


CA_ROWS = [
    pytest.param({x509.BasicConstraints: _plain(ca=False)}, "not a CA certificate", id="X-23"),
    pytest.param({x509.BasicConstraints: None}, "not a CA certificate", id="X-23 missing"),
    pytest.param({x509.BasicConstraints: _plain(critical=False)}, "must be critical", id="not critical"),
    pytest.param({x509.KeyUsage: None}, "keyCertSign is missing", id="X-25 missing"),
    pytest.param({x509.KeyUsage: (_usage(), True)}, "keyCertSign is missing", id="X-25"),
    pytest.param({x509.KeyUsage: (ANY_CA_USAGE, False)}, "must be critical", id="X-25 not critical"),
    pytest.param({x509.SubjectKeyIdentifier: None}, "no subjectKeyIdentifier", id="no key id"),
    pytest.param({x509.SubjectAlternativeName: None}, "X-20", id="X-20"),
    pytest.param(
        {x509.SubjectAlternativeName: (x509.SubjectAlternativeName([uri("spiffe://example.org/x")]), False)},
        "X-20",
        id="X-21",
    ),
    pytest.param(
        {x509.SubjectAlternativeName: (x509.SubjectAlternativeName([uri("spiffe://other")]), False)},
        "X-20",
        id="X-22",
    ),
    pytest.param({x509.OCSPNoCheck: (x509.OCSPNoCheck(), True)}, "must not be critical", id="critical"),
]


def test_a_right_root_passes() -> None:
    lint.lint_root(imported_root(OURS.root_key), trust_domain=TRUST_DOMAIN)


@pytest.mark.parametrize(("extensions", "finding"), CA_ROWS)
def test_a_root_with_a_wrong_extension_fails(extensions: dict[Any, Any], finding: str) -> None:
    with pytest.raises(InvalidError, match=finding):
        lint.lint_root(imported_root(OURS.root_key, replace=extensions), trust_domain=TRUST_DOMAIN)


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"path_length": 2}, "X-24"),
        ({"subject": ""}, "subject is empty"),
        ({"issuer": OURS.root.subject}, "a root's issuer must be its subject"),
        ({"not_before": NOW, "not_after": NOW}, "validity is empty"),
    ],
    ids=["X-24", "X-30", "issuer", "validity"],
)
def test_a_root_with_a_wrong_field_fails(changes: dict[str, Any], finding: str) -> None:
    with pytest.raises(InvalidError, match=finding):
        lint.lint_root(imported_root(OURS.root_key, **changes), trust_domain=TRUST_DOMAIN)


def test_a_root_of_a_key_that_no_ca_may_have_fails() -> None:
    with pytest.raises(InvalidError, match="DSA is not supported"):
        lint.lint_root(imported_root(dsa_key()), trust_domain=TRUST_DOMAIN)


def _ca(public: keys.PublicKey, extensions: dict[Any, Any], **changes: Any) -> x509.Certificate:
    """Make a signer or cross-certificate under our root."""
    base: dict[Any, Any] = {
        x509.BasicConstraints: _plain(path_length=0),
        x509.KeyUsage: (ANY_CA_USAGE, True),
        x509.SubjectKeyIdentifier: (x509.SubjectKeyIdentifier(keys.subject_key_id(public)), False),
        x509.AuthorityKeyIdentifier: (ROOT.authority_key_id, False),
        x509.SubjectAlternativeName: (x509.SubjectAlternativeName([uri(TRUST_DOMAIN.uri)]), False),
    }
    arguments = {"subject": "signer", "issuer": OURS.root.subject, "signer": OURS.root_key, **changes}
    return craft(public, extensions={**base, **extensions}, **arguments)


SIGNER_PUBLIC = OURS.signer_key.public_key()


def test_a_right_signer_passes() -> None:
    lint.lint_signer(_ca(SIGNER_PUBLIC, {}), ROOT, trust_domain=TRUST_DOMAIN)


@pytest.mark.parametrize(("extensions", "finding"), CA_ROWS)
def test_a_signer_with_a_wrong_extension_fails(extensions: dict[Any, Any], finding: str) -> None:
    with pytest.raises(InvalidError, match=finding):
        lint.lint_signer(_ca(SIGNER_PUBLIC, extensions), ROOT, trust_domain=TRUST_DOMAIN)


@pytest.mark.parametrize("path_length", [None, 1])
def test_x_24_a_signer_with_another_path_length_fails(path_length: int | None) -> None:
    with pytest.raises(InvalidError, match="X-24 a signer's pathLen must be 0"):
        lint.lint_signer(
            _ca(SIGNER_PUBLIC, {x509.BasicConstraints: _plain(path_length=path_length)}),
            ROOT,
            trust_domain=TRUST_DOMAIN,
        )


@pytest.mark.parametrize(
    ("make", "finding"),
    [
        (lambda: _ca(OURS.root_key.public_key(), {}), "a key of its own"),
        (lambda: _ca(SIGNER_PUBLIC, {x509.AuthorityKeyIdentifier: None}), "X-14 authority"),
        (lambda: _ca(SIGNER_PUBLIC, {}, not_after=OURS.root.not_valid_after_utc + HOUR), "X-13"),
        (lambda: _ca(SIGNER_PUBLIC, {}, issuer=NEW.root.subject), "subject of the issuer"),
    ],
    ids=["own key", "X-14", "X-13", "issuer"],
)
def test_a_signer_with_a_wrong_field_fails(make: Callable[[], x509.Certificate], finding: str) -> None:
    with pytest.raises(InvalidError, match=finding):
        lint.lint_signer(make(), ROOT, trust_domain=TRUST_DOMAIN)


def test_x_30_a_signer_with_its_issuers_subject_fails() -> None:
    plain = imported_root(OURS.root_key, subject="same")
    aki = issuer_of(plain).authority_key_id
    signer = _ca(
        SIGNER_PUBLIC, {x509.AuthorityKeyIdentifier: (aki, False)}, subject="same", issuer=plain.subject
    )
    with pytest.raises(InvalidError, match="X-30 a signer must have a subject of its own"):
        lint.lint_signer(signer, issuer_of(plain), trust_domain=TRUST_DOMAIN)


def test_x_22_a_signer_of_another_trust_domain_fails() -> None:
    with pytest.raises(InvalidError, match="X-20 to X-22"):
        lint.lint_signer(_ca(SIGNER_PUBLIC, {}), ROOT, trust_domain=TrustDomain("other"))


NEW_ROOT = imported_root(NEW.root_key, subject="new", path_length=3, not_after=NOW + 10 * DAY)
NEW_ID = x509.SubjectKeyIdentifier.from_public_key(NEW.root_key.public_key())


def _cross(extensions: dict[Any, Any] | None = None, **changes: Any) -> x509.Certificate:
    base: dict[Any, Any] = {
        x509.BasicConstraints: _plain(path_length=3),
        x509.SubjectKeyIdentifier: (NEW_ID, False),
    }
    public = changes.pop("public", NEW.root_key.public_key())
    arguments = {"subject": "new", "serial": 2**100 + 7, **changes}
    return _ca(public, {**base, **(extensions or {})}, **arguments)


def test_x_31_a_right_cross_certificate_passes() -> None:
    lint.lint_cross(_cross(), ROOT, new_root=NEW_ROOT)
    lint.lint_cross(_cross(not_after=NEW_ROOT.not_valid_after_utc), ROOT, new_root=NEW_ROOT)


@pytest.mark.parametrize(
    ("make", "finding"),
    [
        (lambda: _cross(subject="other"), "cross-certificate's subject"),
        (lambda: _cross(public=SIGNER_PUBLIC), "cross-certificate's key"),
        (
            lambda: _cross({x509.SubjectKeyIdentifier: (x509.SubjectKeyIdentifier(b"other"), False)}),
            "cross-certificate's subjectKeyIdentifier",
        ),
        (lambda: _cross({x509.BasicConstraints: _plain()}), "cross-certificate's pathLen"),
        (lambda: _cross({x509.SubjectAlternativeName: None}), "X-20"),
        (lambda: _cross(serial=2**127 + 1), "a serial number of its own"),
        (lambda: _cross(not_after=NOW + 11 * DAY), "must not outlive the new root"),
        (lambda: _cross({x509.AuthorityKeyIdentifier: (SIGNER.authority_key_id, False)}), "X-14 authority"),
        (lambda: _cross({x509.KeyUsage: (_usage(), True)}), "keyCertSign is missing"),
    ],
    ids=["subject", "key", "key id", "pathLen", "URI", "serial", "NotAfter", "AKI", "usage"],
)
def test_x_31_a_wrong_cross_certificate_fails(make: Callable[[], x509.Certificate], finding: str) -> None:
    with pytest.raises(InvalidError, match=finding):
        lint.lint_cross(make(), ROOT, new_root=NEW_ROOT)


def test_only_version_3_passes() -> None:
    # Version 1 has no extensions, so the library can make none; the field is taken out by hand.
    whole = craft(PUBLIC, OURS.signer_key, {}, subject="v1", issuer=OURS.signer.subject)
    content = whole.tbs_certificate_bytes
    body = content[content.index(b"\xa0\x03\x02\x01\x02") + 5 :]
    der = certificates.to_der(whole)
    rest = der[der.index(content) + len(content) :]
    old = x509.load_der_x509_certificate(tlv(0x30, tlv(0x30, body) + rest))
    assert old.version is x509.Version.v1
    with pytest.raises(InvalidError, match="the version must be 3"):
        _lint_leaf(old)


def test_a_template_that_goes_wrong_is_caught_before_anything_is_signed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(template, "_LEAF_BASIC", x509.BasicConstraints(ca=True, path_length=None))
    with pytest.raises(InvalidError, match="X-05"):
        OURS.leaf()
