"""Leaves: every field of an X509-SVID, clamping, and what is refused."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshca.errors import InvalidError, TransientError
from meshca.pki import certificates, chain, issuance, keys
from meshca.pki.identity import SPIFFEID
from tests.fakes.pki import (
    CA_SPECS,
    DAY,
    HOUR,
    LEAF_SPECS,
    NOW,
    SPIFFE_ID,
    TRUST_DOMAIN,
    authority,
    imported_root,
    key,
    make_signer,
)

OURS = authority()
LEAF = OURS.leaf()
MINUTE = timedelta(minutes=1)


def _extension(
    kind: type[x509.ExtensionType], certificate: x509.Certificate = LEAF
) -> x509.Extension[x509.ExtensionType]:
    return certificate.extensions.get_extension_for_class(kind)


def _usage(certificate: x509.Certificate) -> x509.KeyUsage:
    return certificate.extensions.get_extension_for_class(x509.KeyUsage).value


def _issue(**changes: object) -> x509.Certificate:
    arguments: dict[str, object] = {
        "issuer_cert": OURS.signer,
        "issuer_key": OURS.signer_key,
        "spiffe_id": SPIFFE_ID,
        "ttl": 72 * HOUR,
        "now": NOW,
    }
    public = changes.pop("public", key("ECDSA 256", "leaf").public_key())
    return issuance.leaf_certificate(public, **{**arguments, **changes})  # type: ignore[arg-type]


def test_x_01_the_one_uri_is_the_spiffe_id() -> None:
    assert certificates.uris_of(LEAF) == (SPIFFE_ID.uri,)


def test_140_x_04_the_subject_is_empty_and_the_names_therefore_critical() -> None:
    assert not LEAF.subject.rdns
    assert _extension(x509.SubjectAlternativeName).critical


def test_x_05_it_is_no_ca() -> None:
    basic = _extension(x509.BasicConstraints)
    assert basic.critical
    assert basic.value == x509.BasicConstraints(ca=False, path_length=None)


@pytest.mark.parametrize("text", LEAF_SPECS)
def test_x_06_to_x_09_key_usage(text: str) -> None:
    leaf = _issue(public=key(text, "leaf").public_key())
    usage = _usage(leaf)
    assert _extension(x509.KeyUsage, leaf).critical
    assert usage.digital_signature
    assert not usage.key_cert_sign
    assert not usage.crl_sign
    assert usage.key_encipherment is text.startswith("RSA")
    assert not usage.key_agreement


def test_x_10_x_11_extended_key_usage_is_server_and_client() -> None:
    extended = LEAF.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(extended) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


def test_140_x_14_key_ids_chain_up() -> None:
    assert certificates.authority_key_id_of(LEAF) == certificates.subject_key_id_of(OURS.signer)
    assert certificates.subject_key_id_of(LEAF) == keys.subject_key_id(key("ECDSA 256", "leaf").public_key())
    assert LEAF.issuer == OURS.signer.subject


def test_141_x_14_serial_numbers_are_random_positive_and_at_most_128_bits() -> None:
    serials = [_issue().serial_number for _ in range(50)]
    assert len(set(serials)) == 50
    assert all(0 < serial < 2**128 for serial in serials)
    assert max(serials).bit_length() > 120


def test_id_19_x_12_the_key_is_the_requesters() -> None:
    assert keys.matches(key("ECDSA 256", "leaf"), LEAF)


def test_140_x_13_validity_starts_five_minutes_ago_and_lasts_the_ttl_from_now() -> None:
    assert LEAF.not_valid_before_utc == NOW - 5 * MINUTE
    assert LEAF.not_valid_after_utc == NOW + 72 * HOUR


def test_140_pem_ends_in_a_newline() -> None:
    assert certificates.to_pem(LEAF).endswith("-----END CERTIFICATE-----\n")


@pytest.mark.parametrize("text", CA_SPECS)
def test_140_every_kind_of_ca_signs_leaves_that_verify(text: str) -> None:
    ours = authority(text)
    leaf = ours.leaf()
    assert chain.verify(leaf, [ours.signer], [ours.root], at=NOW) == [leaf, ours.signer, ours.root]


@pytest.mark.parametrize("text", LEAF_SPECS)
def test_every_kind_of_leaf_key_gets_a_leaf(text: str) -> None:
    leaf = _issue(public=key(text, "leaf").public_key())
    assert keys.matches(key(text, "leaf"), leaf)
    assert chain.verify(leaf, [OURS.signer], [OURS.root], at=NOW)


def test_x_02_granted_names_are_in_it_in_lower_case() -> None:
    addresses = [ipaddress.ip_address("10.0.0.1"), ipaddress.ip_address("fd00::1")]
    leaf = _issue(dns_names=["Web.Shop.svc"], ip_addresses=addresses)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["web.shop.svc"]
    assert names.get_values_for_type(x509.IPAddress) == addresses
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [SPIFFE_ID.uri]


def test_id_11_an_id_of_2048_bytes_fits() -> None:
    head = f"{TRUST_DOMAIN.uri}/"
    longest = SPIFFEID.parse(head + "a" * (2048 - len(head)))
    leaf = _issue(spiffe_id=longest)
    assert certificates.uris_of(leaf) == (longest.uri,)
    assert chain.verify(leaf, [OURS.signer], [OURS.root], at=NOW)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"public": key("ECDSA 224").public_key()}, "leaf key ECDSA 224 is not allowed", id="weak key"
        ),
        pytest.param({"spiffe_id": SPIFFEID(TRUST_DOMAIN, "")}, "X-03", id="X-03"),
        pytest.param({"spiffe_id": SPIFFEID.parse("spiffe://other/x")}, "X-15", id="144 X-15"),
        pytest.param({"dns_names": ["*.example.org"]}, "DNS name .* is not a host name", id="wildcard"),
        pytest.param({"dns_names": ["ä.example.org"]}, "DNS name .* is not a host name", id="not ASCII"),
        pytest.param({"ttl": timedelta(0)}, "ttl must be more than 0s", id="no ttl"),
        pytest.param({"ttl": -HOUR}, "ttl must be more than 0s", id="negative ttl"),
        pytest.param({"ttl": timedelta.max}, "at most 8760h", id="endless ttl"),
        pytest.param({"now": NOW.replace(tzinfo=None)}, "without a time zone", id="naive moment"),
        pytest.param({"issuer_key": OURS.root_key}, "does not belong to the issuer", id="foreign key"),
        pytest.param({"issuer_cert": LEAF}, "it is not a CA certificate", id="issuer is a leaf"),
    ],
)
def test_what_no_leaf_may_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        _issue(**changes)


def test_a_moment_in_another_zone_and_with_microseconds_is_the_same_moment() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=9))).replace(microsecond=999_999)
    leaf = _issue(now=elsewhere)
    assert leaf.not_valid_after_utc == NOW + 72 * HOUR


def test_219_x_13_i4_a_leaf_never_outlives_its_signer() -> None:
    short = make_signer(OURS.signer_key.public_key(), OURS.root, OURS.root_key, ttl=10 * HOUR)
    leaf = _issue(issuer_cert=short, ttl=72 * HOUR)
    assert leaf.not_valid_after_utc == short.not_valid_after_utc == NOW + 10 * HOUR


@pytest.mark.parametrize(
    ("left", "reason"),
    [
        (timedelta(hours=7, minutes=12), None),
        (timedelta(hours=7, minutes=11, seconds=59), "SignerTooShort"),
        (timedelta(seconds=1), "SignerTooShort"),
        (timedelta(0), "SignerExpired"),
        (-DAY, "SignerExpired"),
    ],
)
def test_145_219_a_signer_with_less_than_a_tenth_of_the_ttl_left_signs_no_more(
    left: timedelta, reason: str | None
) -> None:
    now = OURS.signer.not_valid_after_utc - left
    if reason is None:
        assert _issue(now=now).not_valid_after_utc == OURS.signer.not_valid_after_utc
        return
    with pytest.raises(TransientError) as caught:
        _issue(now=now)
    assert caught.value.reason == reason


def test_145_the_texts_tell_what_has_expired() -> None:
    after_signer = OURS.signer.not_valid_after_utc
    after_root = OURS.root.not_valid_after_utc
    issuance.check_not_expired(OURS.root, OURS.signer, NOW)
    with pytest.raises(TransientError, match=r"^signer expired: its NotAfter was 2031-01-01T12:00:00Z$"):
        issuance.check_not_expired(OURS.root, OURS.signer, after_signer)
    with pytest.raises(
        TransientError, match=r"^root expired: its NotAfter was 2039-12-30T12:00:00Z$"
    ) as caught:
        issuance.check_not_expired(OURS.root, OURS.signer, after_root)
    assert caught.value.reason == "RootExpired"
    with pytest.raises(TransientError, match=r"^signer expires in 1h, less than a tenth of the wanted 72h$"):
        _issue(now=after_signer - HOUR)


def test_145_a_signer_that_is_not_yet_valid_here_may_sign() -> None:
    early = datetime(2029, 12, 31, tzinfo=UTC)
    assert OURS.signer.not_valid_before_utc > early
    leaf = _issue(now=early)
    assert leaf.not_valid_after_utc == early + 72 * HOUR


def test_x_15_a_signer_without_a_uri_does_not_limit_the_trust_domain() -> None:
    plain = imported_root(OURS.signer_key, uris=())
    leaf = _issue(issuer_cert=plain, spiffe_id=SPIFFEID.parse("spiffe://example.com/x"))
    assert certificates.uris_of(leaf) == ("spiffe://example.com/x",)
