"""Roots, signers and cross-certificates: every field, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from meshca.errors import InvalidError, TransientError
from meshca.pki import certificates, chain, issuance, keys, prepared, signatures
from meshca.pki.identity import TrustDomain
from meshca.pki.issuer import issuer_of
from meshca.pki.profile import RootProfile, SignerProfile
from tests.fakes.pki import (
    CA_SPECS,
    DAY,
    HOUR,
    NOW,
    SPIFFE_ID,
    TRUST_DOMAIN,
    authority,
    imported_root,
    key,
    make_root,
    make_signer,
)

if TYPE_CHECKING:
    from collections.abc import Callable

OURS = authority()
NEW = authority("ECDSA 256", "new")
CROSS = issuance.cross_certificate(NEW.root, issuer_cert=OURS.root, issuer_key=OURS.root_key, now=NOW)
ALL = {"root": OURS.root, "signer": OURS.signer, "cross-certificate": CROSS}
EVERY = pytest.mark.parametrize("certificate", ALL.values(), ids=ALL.keys())


def _name(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    (found,) = certificate.subject.get_attributes_for_oid(oid)
    return str(found.value)


@EVERY
def test_id_16_to_id_18_x_20_to_x_22_x_32_it_is_an_svid_of_the_trust_domain(
    certificate: x509.Certificate,
) -> None:
    assert certificates.uris_of(certificate) == ("spiffe://example.org",)
    assert certificates.trust_domain_of(certificate) == TRUST_DOMAIN


@EVERY
def test_x_23_x_25_it_may_sign_certificates_and_nothing_else(certificate: x509.Certificate) -> None:
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert basic.critical
    assert basic.value.ca
    assert usage.critical
    assert usage.value.key_cert_sign
    assert not usage.value.digital_signature


@EVERY
def test_x_27_x_28_it_has_no_name_constraints_and_no_extended_key_usage(
    certificate: x509.Certificate,
) -> None:
    assert certificates.extension(certificate, x509.NameConstraints) is None
    assert certificates.extension(certificate, x509.ExtendedKeyUsage) is None


@pytest.mark.parametrize(
    ("certificate", "path_length"), [(OURS.root, None), (OURS.signer, 0), (CROSS, None)], ids=ALL.keys()
)
def test_x_24_path_lengths(certificate: x509.Certificate, path_length: int | None) -> None:
    assert certificates.path_length_of(certificate) == path_length


@EVERY
def test_x_30_subjects_are_unique_and_say_whose_they_are(certificate: x509.Certificate) -> None:
    assert _name(certificate, NameOID.ORGANIZATION_NAME) == "example.org"
    assert "default" in _name(certificate, NameOID.COMMON_NAME)
    assert len(_name(certificate, NameOID.SERIAL_NUMBER)) == 32


def test_x_30_two_roots_of_one_configuration_differ_in_subject() -> None:
    subjects = {make_root(key("ECDSA 256", "same")).subject.rfc4514_string() for _ in range(5)}
    assert len(subjects) == 5


@EVERY
def test_a_ca_is_backdated_by_an_hour(certificate: x509.Certificate) -> None:
    assert certificate.not_valid_before_utc == NOW - HOUR


def test_names_are_cut_to_their_upper_bounds() -> None:
    domain = TrustDomain.parse("d" * 255)
    root = issuance.self_signed_root(
        OURS.root_key, trust_domain=domain, configuration="c" * 63, profile=RootProfile(DAY), now=NOW
    )
    assert _name(root, NameOID.ORGANIZATION_NAME) == "d" * 64
    assert _name(root, NameOID.COMMON_NAME) == "c" * 59 + " root"
    assert certificates.uris_of(root) == (domain.uri,)


def test_a_root_is_self_signed_for_its_ttl() -> None:
    assert OURS.root.issuer == OURS.root.subject
    assert certificates.authority_key_id_of(OURS.root) == certificates.subject_key_id_of(OURS.root)
    assert OURS.root.not_valid_after_utc == NOW + 3650 * DAY
    assert chain.verify(OURS.root, [], [OURS.root], at=NOW) == [OURS.root]


def test_a_signer_hangs_under_its_root() -> None:
    assert OURS.signer.issuer == OURS.root.subject
    assert certificates.authority_key_id_of(OURS.signer) == certificates.subject_key_id_of(OURS.root)
    assert keys.matches(OURS.signer_key, OURS.signer)
    assert OURS.signer.not_valid_after_utc == NOW + 365 * DAY


def test_i4_a_signer_never_outlives_its_root() -> None:
    root = make_root(OURS.root_key, ttl=100 * DAY)
    signer = make_signer(OURS.signer_key.public_key(), root, OURS.root_key)
    assert signer.not_valid_after_utc == root.not_valid_after_utc


def _signer(**changes: object) -> x509.Certificate:
    arguments: dict[str, object] = {
        "issuer_cert": OURS.root,
        "issuer_key": OURS.root_key,
        "trust_domain": TRUST_DOMAIN,
        "configuration": "default",
        "cluster_name": "default",
        "profile": SignerProfile(365 * DAY),
        "now": NOW,
    }
    public = changes.pop("public", OURS.signer_key.public_key())
    return issuance.signer_certificate(public, **{**arguments, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"trust_domain": TrustDomain("other")},
            "the issuer is of trust domain spiffe://example.org, not spiffe://other",
        ),
        ({"public": OURS.root_key.public_key()}, "a signer must have a key of its own"),
        ({"issuer_cert": OURS.signer, "issuer_key": OURS.signer_key}, "the issuer's pathLen is 0"),
        ({"issuer_key": OURS.signer_key}, "does not belong to the issuer"),
        ({"issuer_cert": OURS.leaf()}, "it is not a CA certificate"),
        ({"now": NOW.replace(tzinfo=None)}, "without a time zone"),
    ],
    ids=["X-22", "own key", "X-24", "foreign key", "leaf", "naive"],
)
def test_what_no_signer_may_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        _signer(**changes)


def test_145_an_expired_root_signs_no_signer() -> None:
    with pytest.raises(TransientError, match=r"^root expired: ") as caught:
        _signer(now=OURS.root.not_valid_after_utc)
    assert caught.value.reason == "RootExpired"


@pytest.mark.parametrize(
    "make",
    [lambda: ec.generate_private_key(ec.SECP192R1()), lambda: rsa.generate_private_key(65537, 1024)],
    ids=["P-192", "RSA 1024"],
)
def test_027_no_ca_is_made_of_a_weak_key(make: Callable[[], keys.PrivateKey]) -> None:
    weak = make()
    with pytest.raises(InvalidError, match=r"not supported|not allowed"):
        make_root(weak)
    with pytest.raises(InvalidError, match=r"not supported|not allowed"):
        _signer(public=weak.public_key())


# --- cross-certificates -----------------------------------------------------------------------


def test_073_x_31_it_is_the_new_root_under_the_old_key() -> None:
    assert CROSS.subject == NEW.root.subject
    assert CROSS.public_key() == NEW.root.public_key()
    assert certificates.uris_of(CROSS) == certificates.uris_of(NEW.root)
    assert certificates.subject_key_id_of(CROSS) == certificates.subject_key_id_of(NEW.root)
    assert certificates.authority_key_id_of(CROSS) == certificates.subject_key_id_of(OURS.root)
    assert CROSS.issuer == OURS.root.subject
    assert CROSS.serial_number != NEW.root.serial_number
    CROSS.verify_directly_issued_by(OURS.root)


@pytest.mark.parametrize(("old_days", "new_days", "days"), [(100, 3650, 100), (3650, 100, 100)])
def test_x_31_it_ends_with_the_first_of_both_roots(old_days: int, new_days: int, days: int) -> None:
    old = make_root(OURS.root_key, ttl=old_days * DAY)
    new = make_root(NEW.root_key, ttl=new_days * DAY)
    crossed = issuance.cross_certificate(new, issuer_cert=old, issuer_key=OURS.root_key, now=NOW)
    assert crossed.not_valid_after_utc == NOW + days * DAY


@pytest.mark.parametrize("new", CA_SPECS)
@pytest.mark.parametrize("old", CA_SPECS)
def test_084_089_every_kind_of_key_cross_signs_every_other(old: str, new: str) -> None:
    older, newer = authority(old), authority(new, "new")
    crossed = issuance.cross_certificate(
        newer.root, issuer_cert=older.root, issuer_key=older.root_key, now=NOW
    )
    leaf = newer.leaf()
    path = [leaf, newer.signer, crossed, older.root]
    assert chain.verify(leaf, [newer.signer, crossed], [older.root], at=NOW) == path
    assert chain.verify(leaf, [newer.signer], [newer.root], at=NOW) == [leaf, newer.signer, newer.root]
    with pytest.raises(InvalidError, match="unknown root"):
        chain.verify(leaf, [newer.signer], [older.root], at=NOW)


def test_x_24_the_cross_certificate_keeps_the_new_roots_path_length() -> None:
    new = imported_root(NEW.root_key, path_length=2)
    crossed = issuance.cross_certificate(new, issuer_cert=OURS.root, issuer_key=OURS.root_key, now=NOW)
    assert certificates.path_length_of(crossed) == 2


@pytest.mark.parametrize("path_length", [0, 1])
def test_x_24_a_root_without_room_below_cannot_cross_sign(path_length: int) -> None:
    old = imported_root(OURS.root_key, path_length=path_length)
    with pytest.raises(
        InvalidError, match=f"the issuer's pathLen is {path_length}; it must be absent or at least 2"
    ):
        issuance.cross_certificate(NEW.root, issuer_cert=old, issuer_key=OURS.root_key, now=NOW)


def test_x_24_path_lengths_with_just_enough_room_are_enough() -> None:
    old = imported_root(OURS.root_key, path_length=2)
    new = imported_root(NEW.root_key, path_length=1)
    crossed = issuance.cross_certificate(new, issuer_cert=old, issuer_key=OURS.root_key, now=NOW)
    assert certificates.path_length_of(crossed) == 1
    signer = make_signer(NEW.signer_key.public_key(), new, NEW.root_key)
    assert chain.verify(signer, [crossed], [old], at=NOW) == [signer, crossed, old]


def test_a_new_root_without_a_uri_is_cross_signed_as_it_is() -> None:
    new = imported_root(NEW.root_key, uris=())
    crossed = issuance.cross_certificate(new, issuer_cert=OURS.root, issuer_key=OURS.root_key, now=NOW)
    assert certificates.uris_of(crossed) == ()
    assert certificates.extension(crossed, x509.SubjectAlternativeName) is None


@pytest.mark.parametrize(
    ("new", "message"),
    [
        pytest.param(lambda _: OURS.leaf(), "it is not a CA certificate", id="089 no CA"),
        pytest.param(lambda made: made(path_length=0), "the new root's pathLen is 0", id="X-24"),
        pytest.param(lambda _: make_root(OURS.root_key), "the same key as the root", id="026 same key"),
        pytest.param(
            lambda made: made(uris=("spiffe://other",)), "spiffe://example.org, not spiffe://other", id="X-22"
        ),
        pytest.param(lambda made: made(not_after=NOW), "it has expired", id="expired"),
    ],
)
def test_what_cannot_be_cross_signed_is_refused(
    new: Callable[[Callable[..., x509.Certificate]], x509.Certificate], message: str
) -> None:
    with pytest.raises(InvalidError, match=message):
        issuance.cross_certificate(
            new(partial(imported_root, NEW.root_key)),
            issuer_cert=OURS.root,
            issuer_key=OURS.root_key,
            now=NOW,
        )


def test_145_an_expired_root_cross_signs_nothing() -> None:
    new = make_root(NEW.root_key, ttl=7300 * DAY)
    with pytest.raises(TransientError, match=r"^root expired: "):
        issuance.cross_certificate(
            new,
            issuer_cert=OURS.root,
            issuer_key=OURS.root_key,
            now=OURS.root.not_valid_after_utc + timedelta(1),
        )


# --- two steps ---------------------------------------------------------------------------------


def _prepared() -> prepared.Prepared:
    return issuance.prepare_root(
        OURS.root_key.public_key(),
        trust_domain=TRUST_DOMAIN,
        configuration="default",
        profile=RootProfile(DAY),
        now=NOW,
    )


@pytest.mark.parametrize("text", CA_SPECS)
def test_what_is_signed_is_byte_for_byte_what_was_linted(text: str) -> None:
    ours = authority(text)
    ready = issuance.prepare_leaf(
        key().public_key(), issuer_of(ours.signer), spiffe_id=SPIFFE_ID, ttl=HOUR, now=NOW
    )
    linted = ready.draft
    with pytest.raises(InvalidSignature):
        linted.verify_directly_issued_by(ours.signer)
    issued = prepared.issue(ready, ours.signer_key)
    assert issued.tbs_certificate_bytes == linted.tbs_certificate_bytes
    issued.verify_directly_issued_by(ours.signer)


def test_prepared_content_is_signed_once_only() -> None:
    ready = _prepared()
    prepared.issue(ready, OURS.root_key)
    with pytest.raises(InvalidError, match="issued already"):
        prepared.issue(ready, OURS.root_key)
    with pytest.raises(InvalidError, match="issued already"):
        _ = ready.draft


def test_a_foreign_key_does_not_spend_what_was_prepared() -> None:
    ready = _prepared()
    with pytest.raises(InvalidError, match="does not belong to the issuer"):
        prepared.issue(ready, OURS.signer_key)
    assert prepared.issue(ready, OURS.root_key).public_key() == OURS.root_key.public_key()


def test_a_ca_certificate_whose_signature_came_out_wrong_is_not_handed_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def faulty(private: keys.PrivateKey, data: bytes) -> bytes:
        return signatures.sign(private, data + b"!")

    monkeypatch.setattr(prepared, "sign", faulty)
    with pytest.raises(TransientError, match="does not verify"):
        make_root(OURS.root_key)
    with pytest.raises(TransientError, match="does not verify"):
        _signer()


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65535, 65536])
def test_der_lengths_are_minimal(size: int) -> None:
    element = prepared.tlv(0x30, bytes(size))
    header = len(element) - size
    assert header == 2 + (size > 127) + (size > 255) + (size > 65535)
    assert element[header:] == bytes(size)
    length = element[1] if element[1] < 128 else int.from_bytes(element[2:header], "big")
    assert length == size
