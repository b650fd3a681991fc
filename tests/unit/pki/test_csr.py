"""Certificate signing requests: wishes are read, tricks are refused."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, padding, rsa
from cryptography.x509.oid import NameOID

from meshca.errors import InvalidError
from meshca.pki import csr, keys, pem, prepared
from meshca.pki.csr import parse
from meshca.pki.keys import CA_KEYS
from tests.fakes.pki import LEAF_SPECS, authority, dsa_key, key, request, spec, uri

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

ID = "spiffe://example.org/ns/shop/sa/web"
PEM = serialization.Encoding.PEM
EMPTY = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))


def _pem(made: x509.CertificateSigningRequest) -> str:
    return made.public_bytes(PEM).decode()


@pytest.mark.parametrize("text", LEAF_SPECS)
def test_a_request_says_which_key_and_names_it_wishes(text: str) -> None:
    found = parse(
        request(
            key(text),
            uri(ID),
            x509.DNSName("web.shop"),
            x509.IPAddress(ipaddress.ip_address("10.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("fd00::1")),
        )
    )
    assert keys.same_key(found.public_key, key(text).public_key())
    assert found.key_spec == spec(text)
    assert found.uris == (ID,)
    assert found.dns_names == ("web.shop",)
    assert found.ip_addresses == (ipaddress.ip_address("10.0.0.1"), ipaddress.ip_address("fd00::1"))
    assert not found.wants_ca


def test_142_any_number_of_uris_is_read_for_the_policy_to_judge() -> None:
    assert parse(request()).uris == ()
    assert parse(request(None, uri(ID), uri("spiffe://other/x"))).uris == (ID, "spiffe://other/x")


def test_151_subject_and_unknown_extensions_are_read_past() -> None:
    found = parse(
        request(
            None,
            uri(ID),
            subject=[
                x509.NameAttribute(NameOID.COMMON_NAME, "admin"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:masters"),
            ],
            extensions=[
                x509.BasicConstraints(ca=True, path_length=None),
                x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"),
            ],
        )
    )
    assert found.uris == (ID,)
    assert found.wants_ca
    assert not hasattr(found, "subject")


def test_a_request_for_no_ca_does_not_want_one() -> None:
    assert not parse(request(None, extensions=[x509.BasicConstraints(ca=False, path_length=None)])).wants_ca


def test_bytes_headers_and_comments_are_fine() -> None:
    text = request(None, uri(ID))
    assert parse(text.encode()) == parse("Certificate Request:\n" + text) == parse(text)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (x509.RFC822Name("a@example.org"), "e-mail addresses are not allowed"),
        (
            x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x01a"),
            "OtherName are not allowed",
        ),
        (x509.DirectoryName(x509.Name([])), "DirectoryName are not allowed"),
        (x509.RegisteredID(x509.ObjectIdentifier("1.2.3")), "RegisteredID are not allowed"),
        (x509.IPAddress(ipaddress.ip_network("10.0.0.0/8")), "an IP network where an address belongs"),
    ],
    ids=["e-mail", "other name", "directory name", "registered id", "network"],
)
def test_142_names_of_other_kinds_are_refused(name: x509.GeneralName, message: str) -> None:
    with pytest.raises(InvalidError, match=f"^certificate request: .*{message}"):
        parse(request(None, uri(ID), name))


def test_many_names_are_refused() -> None:
    names = [x509.DNSName(f"n{number}.example.org") for number in range(101)]
    assert len(parse(request(None, *names[:100])).dns_names) == 100
    with pytest.raises(InvalidError, match="101 alternative names, more than 100"):
        parse(request(None, *names))


def _spoil(text: str, *, at: int) -> str:
    der = bytearray(pem.split_one(text, limit_bytes=10**5, label=pem.CERTIFICATE_REQUEST))
    der[at] ^= 1
    return pem.encode(bytes(der), label=pem.CERTIFICATE_REQUEST)


@pytest.mark.parametrize("text", LEAF_SPECS)
def test_220_x_12_a_broken_signature_is_refused(text: str) -> None:
    with pytest.raises(
        InvalidError, match="signature does not verify: it was not made by the key it asks for"
    ):
        parse(_spoil(request(key(text), uri(ID)), at=-1))


def test_x_12_a_request_signed_by_another_key_is_refused() -> None:
    mine = pem.split_one(request(key("ECDSA 256", "mine")), limit_bytes=10**5, label=pem.CERTIFICATE_REQUEST)
    their_point = _point(key("ECDSA 256", "theirs"))
    forged = mine.replace(_point(key("ECDSA 256", "mine")), their_point)
    assert their_point in forged
    with pytest.raises(InvalidError, match="was not made by the key"):
        parse(pem.encode(forged, label=pem.CERTIFICATE_REQUEST))


def _point(private: keys.PrivateKey) -> bytes:
    return private.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


def _mixed(signature_of: str, public_of: str) -> str:
    """Write a request about one key whose signature, and its algorithm, are of another."""
    about = EMPTY.sign(key(public_of), _hash(public_of)).public_bytes(serialization.Encoding.DER)
    other = EMPTY.sign(key(signature_of), _hash(signature_of)).public_bytes(serialization.Encoding.DER)
    content = x509.load_der_x509_csr(about).tbs_certrequest_bytes
    tail = other[other.index(x509.load_der_x509_csr(other).tbs_certrequest_bytes) :]
    tail = tail[len(x509.load_der_x509_csr(other).tbs_certrequest_bytes) :]
    body = content + tail
    return pem.encode(prepared.tlv(0x30, body), label=pem.CERTIFICATE_REQUEST)


def _hash(text: str) -> hashes.SHA256 | None:
    return None if text == "Ed25519" else hashes.SHA256()


@pytest.mark.parametrize("public_of", ["ECDSA 256", "RSA 2048", "Ed25519"])
@pytest.mark.parametrize("signature_of", ["ECDSA 256", "RSA 2048", "Ed25519"])
def test_150_a_signature_of_another_kind_of_key_is_refused_by_name(signature_of: str, public_of: str) -> None:
    text = _mixed(signature_of, public_of)
    if signature_of == public_of:
        assert parse(text).key_spec == spec(public_of)
        return
    algorithm = public_of.partition(" ")[0]
    with pytest.raises(InvalidError, match=f"does not fit a key of algorithm {algorithm}"):
        parse(text)


@pytest.mark.parametrize(
    ("private", "algorithm"),
    [("ECDSA 256", hashes.SHA224()), ("RSA 2048", hashes.SHA224()), ("ECDSA 256", hashes.SHA3_256())],
    ids=["ECDSA SHA-224", "RSA SHA-224", "ECDSA SHA3"],
)
def test_150_weak_or_uncommon_hashes_are_refused(
    private: str, algorithm: hashes.SHA224 | hashes.SHA3_256
) -> None:
    with pytest.raises(InvalidError, match=r"algorithm .* is not allowed; allowed are ECDSA and RSA"):
        parse(_pem(EMPTY.sign(key(private), algorithm)))


def test_150_rsa_pss_is_refused() -> None:
    private = key("RSA 2048")
    assert isinstance(private, rsa.RSAPrivateKey)
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    with pytest.raises(InvalidError, match="RSASSA_PSS is not allowed"):
        parse(_pem(EMPTY.sign(private, hashes.SHA256(), rsa_padding=scheme)))


def test_150_sha_1_is_refused() -> None:
    # The library no longer makes such a request, so the identifier of a good one is changed.
    der = pem.split_one(request(key("RSA 2048")), limit_bytes=10**5, label=pem.CERTIFICATE_REQUEST)
    sha256, sha1 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
    with pytest.raises(InvalidError, match="RSA_WITH_SHA1 is not allowed"):
        parse(pem.encode(der.replace(sha256, sha1), label=pem.CERTIFICATE_REQUEST))


@pytest.mark.parametrize(
    ("private", "message"),
    [
        (lambda: key("ECDSA 224"), "leaf key ECDSA 224 is not allowed"),
        (lambda: rsa.generate_private_key(65537, 1024), "leaf key RSA 1024 is not allowed"),
        (lambda: rsa.generate_private_key(3, 2048), "unsafe public exponent"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "curve secp256k1 is not supported"),
        (lambda: ec.generate_private_key(ec.BrainpoolP256R1()), "curve brainpoolP256r1 is not supported"),
        (dsa_key, "key algorithm DSA is not supported"),
        (ed448.Ed448PrivateKey.generate, "key algorithm Ed448 is not supported"),
    ],
    ids=["P-224", "RSA 1024", "exponent 3", "secp256k1", "brainpool", "DSA", "Ed448"],
)
def test_weak_and_foreign_keys_are_refused(
    private: Callable[[], CertificateIssuerPrivateKeyTypes], message: str
) -> None:
    made = private()
    algorithm = None if isinstance(made, ed448.Ed448PrivateKey) else hashes.SHA256()
    with pytest.raises(InvalidError, match=message):
        parse(_pem(EMPTY.sign(made, algorithm)))


def test_a_secondarys_request_follows_the_keys_of_a_ca() -> None:
    assert parse(request(key("ECDSA 224")), keys=CA_KEYS).key_spec == spec("ECDSA 224")
    with pytest.raises(InvalidError, match="CA key RSA 2500 is not allowed"):
        parse(_pem(EMPTY.sign(rsa.generate_private_key(65537, 2500), hashes.SHA256())), keys=CA_KEYS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "PEM: no CERTIFICATE REQUEST block found"),
        ("garbage", "PEM: no CERTIFICATE REQUEST block found"),
        (pem.encode(b"garbage", label=pem.CERTIFICATE_REQUEST), "cannot be decoded as PKCS #10"),
        (pem.encode(b"0\x00", label=pem.CERTIFICATE_REQUEST), "cannot be decoded as PKCS #10"),
        (lambda: request() + request(), "2 CERTIFICATE REQUEST blocks"),
        (lambda: request().replace("CERTIFICATE REQUEST", "CERTIFICATE"), "a block of another kind"),
        (lambda: request() + keys.to_pem(key()).decode(), "a private key where only"),
        (
            lambda: pem.encode(_der() + b"\x00", label=pem.CERTIFICATE_REQUEST),
            "cannot be decoded as PKCS #10",
        ),
        (lambda: pem.encode(_der()[:-1], label=pem.CERTIFICATE_REQUEST), "cannot be decoded as PKCS #10"),
        (lambda: "# " + "x" * csr.LIMIT_BYTES + "\n" + request(), "longer than 16384 bytes"),
    ],
    ids=["empty", "text", "no DER", "empty DER", "two", "wrong kind", "key", "more after", "cut off", "huge"],
)
def test_152_what_is_no_request_is_refused(text: str | Callable[[], str], message: str) -> None:
    with pytest.raises(InvalidError, match=f"^certificate request: .*{message}"):
        parse(text() if callable(text) else text)


def _der() -> bytes:
    return pem.split_one(request(), limit_bytes=10**5, label=pem.CERTIFICATE_REQUEST)


def test_152_a_certificate_under_the_label_of_a_request_is_refused() -> None:
    der = authority().root.public_bytes(serialization.Encoding.DER)
    with pytest.raises(InvalidError, match="cannot be decoded as PKCS #10"):
        parse(pem.encode(der, label=pem.CERTIFICATE_REQUEST))


def test_152_broken_extensions_are_refused() -> None:
    broken = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x04\x01x")
    with pytest.raises(InvalidError, match="cannot be decoded as PKCS #10"):
        parse(request(None, extensions=[broken]))


def test_the_limit_is_the_callers() -> None:
    text = request(None, uri(ID))
    assert parse(text, limit_bytes=len(text)).uris == (ID,)
    with pytest.raises(InvalidError, match="longer than"):
        parse(text, limit_bytes=len(text) - 1)
