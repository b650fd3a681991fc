"""Keys: what is allowed, how they are read, and that nothing of them shows in a text."""

from __future__ import annotations

import hashlib
import traceback
from contextlib import suppress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from hypothesis import given
from hypothesis import strategies as st

from meshca.errors import InvalidError
from meshca.pki import certificates, keys
from meshca.pki import pem as pem_text
from meshca.pki.keys import CA_KEYS, LEAF_KEYS, KeyAlgorithm, KeySpec
from tests.fakes.pki import CA_SPECS, LEAF_SPECS, authority, craft, dsa_key, key, rfc8410_key, spec

PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8
PLAIN = serialization.NoEncryption()


@pytest.mark.parametrize(
    ("algorithm", "size", "expected"),
    [
        ("ECDSA", None, KeySpec(KeyAlgorithm.ECDSA, 256)),
        ("RSA", None, KeySpec(KeyAlgorithm.RSA, 3072)),
        (KeyAlgorithm.ED25519, None, KeySpec(KeyAlgorithm.ED25519, 0)),
        ("ECDSA", 384, KeySpec(KeyAlgorithm.ECDSA, 384)),
    ],
)
def test_a_missing_size_becomes_the_default(algorithm: str, size: int | None, expected: KeySpec) -> None:
    assert KeySpec.of(algorithm, size) == expected


def test_008_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(InvalidError, match="'DSA' is unknown; known are ECDSA, RSA, Ed25519"):
        KeySpec.of("DSA")


@pytest.mark.parametrize(
    ("text", "ca", "leaf"),
    [
        ("ECDSA 192", False, False),
        ("ECDSA 224", True, False),
        ("ECDSA 256", True, True),
        ("ECDSA 384", True, True),
        ("ECDSA 521", True, True),
        ("ECDSA 2048", False, False),
        ("RSA 256", False, False),
        ("RSA 1024", False, False),
        ("RSA 2047", False, False),
        ("RSA 2048", True, True),
        ("RSA 2500", False, True),
        ("RSA 3072", True, True),
        ("RSA 4096", True, True),
        ("RSA 8192", False, True),
        ("RSA 8193", False, False),
        ("Ed25519", True, True),
        ("Ed25519 256", False, False),
    ],
    ids=lambda value: f"009-010 {value}" if isinstance(value, str) else None,
)
def test_the_allow_lists(text: str, *, ca: bool, leaf: bool) -> None:
    assert CA_KEYS.allows(spec(text)) is ca
    assert LEAF_KEYS.allows(spec(text)) is leaf


@pytest.mark.parametrize("text", CA_SPECS)
def test_009_a_generated_key_is_exactly_what_was_asked_for(text: str) -> None:
    assert str(keys.spec_of(key(text).public_key())) == text
    assert keys.check_ca_key(key(text).public_key()) == spec(text)


@pytest.mark.parametrize("text", LEAF_SPECS)
def test_an_allowed_leaf_key_is_accepted(text: str) -> None:
    assert keys.check_leaf_key(key(text).public_key()) == spec(text)


@pytest.mark.parametrize("text", ["RSA 1024", "ECDSA 2048", "RSA 256"])
def test_010_no_key_of_another_size_is_made(text: str) -> None:
    with pytest.raises(
        InvalidError, match=rf"no key {text} can be made.*RSA 2048/3072/4096.*RSA 2048 to 8192"
    ):
        keys.generate(spec(text))


def test_a_refused_key_is_named_with_what_is_allowed() -> None:
    with pytest.raises(
        InvalidError,
        match="leaf key ECDSA 224 is not allowed; allowed are ECDSA 256/384/521, RSA 2048 to 8192, Ed25519",
    ):
        keys.check_leaf_key(key("ECDSA 224").public_key())


@pytest.mark.parametrize("exponent", [1, 3, 17, 65536, 65538, 2**32 + 1])
def test_rsa_keys_with_an_unsafe_exponent_are_refused(exponent: int) -> None:
    public = _rsa_public(exponent)
    for check in (keys.check_ca_key, keys.check_leaf_key):
        with pytest.raises(InvalidError, match="RSA 2048 has an unsafe public exponent; use 65537"):
            check(public)


class _Odd(rsa.RSAPublicKey):
    """A key with an exponent that the library would not build."""

    def __init__(self, exponent: int) -> None:
        self._exponent = exponent

    @property
    def key_size(self) -> int:
        return 2048

    def public_numbers(self) -> rsa.RSAPublicNumbers:
        return rsa.RSAPublicNumbers(self._exponent, (1 << 2047) + 1)


_Odd.__abstractmethods__ = frozenset()


def _rsa_public(exponent: int) -> rsa.RSAPublicKey:
    return _Odd(exponent)  # type: ignore[abstract]


@pytest.mark.parametrize(
    ("public", "text"),
    [
        (lambda: dsa_key().public_key(), "DSA"),
        (lambda: ed448.Ed448PrivateKey.generate().public_key(), "Ed448"),
        (lambda: x25519.X25519PrivateKey.generate().public_key(), "X25519"),
        (lambda: ec.generate_private_key(ec.SECP256K1()).public_key(), "secp256k1"),
        (lambda: None, "NoneType"),
    ],
    ids=["DSA", "Ed448", "X25519", "secp256k1", "nothing"],
)
def test_027_foreign_kinds_of_key_are_refused_by_name(public: object, text: str) -> None:
    assert callable(public)
    with pytest.raises(InvalidError, match=f"{text} is not supported"):
        keys.check_ca_key(public())


def test_only_rsa_is_slow() -> None:
    assert [text for text in CA_SPECS if keys.is_slow(spec(text))] == ["RSA 2048", "RSA 3072"]


@pytest.mark.parametrize("text", CA_SPECS)
@pytest.mark.parametrize("load", [keys.load_private, keys.load_trusted])
def test_a_key_survives_being_written_and_read(text: str, load: object) -> None:
    assert callable(load)
    pem = keys.to_pem(key(text))
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert keys.same_key(load(pem).public_key(), key(text).public_key())


@pytest.mark.parametrize("text", ["ECDSA 256", "RSA 2048"])
def test_older_forms_of_pem_keys_are_read(text: str) -> None:
    pem = key(text).private_bytes(PEM, serialization.PrivateFormat.TraditionalOpenSSL, PLAIN)
    assert keys.same_key(keys.load_private(pem).public_key(), key(text).public_key())


def _encrypted() -> bytes:
    return key().private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"secret"))


def _broken_rsa() -> bytes:
    private = key("RSA 2048")
    assert isinstance(private, rsa.RSAPrivateKey)
    der = private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, PLAIN
    )
    middle = len(der) // 2
    spoiled = der[:middle] + bytes([der[middle] ^ 0x55]) + der[middle + 1 :]
    return pem_text.encode(spoiled, label="RSA PRIVATE KEY").encode()


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"garbage",
        b"-----BEGIN PRIVATE KEY-----\nQUJDREVGR0g=\n-----END PRIVATE KEY-----\n",
        _encrypted,
        _broken_rsa,
        lambda: keys.to_pem(key())[:-60],
        lambda: key().public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        rfc8410_key(112, b"x" * 31),
        rfc8410_key(112, b"x" * 33),
    ],
    ids=[
        "empty",
        "garbage",
        "no DER",
        "encrypted",
        "inconsistent RSA",
        "cut off",
        "a public key",
        "a short Ed25519",
        "a long Ed25519",
    ],
)
def test_226_an_unreadable_key_is_refused_with_a_text_that_quotes_nothing(pem: object) -> None:
    given = pem() if callable(pem) else pem
    assert isinstance(given, bytes)
    with pytest.raises(InvalidError) as caught:
        keys.load_private(given)
    assert caught.value.message == (
        "the private key is not one unencrypted PEM key in PKCS #8, SEC 1 or PKCS #1 form"
    )
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    shown = "".join(traceback.format_exception(caught.value))
    assert not any(line in shown for line in given.decode().splitlines() if len(line) > 8)


@given(st.sampled_from([110, 111, 112, 113]), st.binary(max_size=100))
def test_a_key_of_any_length_is_read_or_refused(kind: int, raw: bytes) -> None:
    with suppress(InvalidError):
        keys.load_trusted(rfc8410_key(kind, raw))


def test_a_huge_text_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(InvalidError, match="larger than 32768 bytes"):
        keys.load_private(b"x" * 32769)
    with pytest.raises(InvalidError, match="is not one unencrypted PEM key"):
        keys.load_private(b"x" * 32768)


@pytest.mark.parametrize(
    "private",
    [
        dsa_key,
        x25519.X25519PrivateKey.generate,
        ed448.Ed448PrivateKey.generate,
    ],
    ids=["DSA", "X25519", "Ed448"],
)
def test_a_private_key_of_a_foreign_kind_is_refused(private: object) -> None:
    assert callable(private)
    with pytest.raises(InvalidError, match="is not supported"):
        keys.load_private(private().private_bytes(PEM, PKCS8, PLAIN))


def test_a_key_matches_only_the_certificate_about_it() -> None:
    ours = authority()
    assert keys.matches(ours.root_key, ours.root)
    assert not keys.matches(ours.signer_key, ours.root)
    assert not keys.matches(key("RSA 2048"), ours.root)


def test_no_key_of_ours_matches_a_certificate_of_a_foreign_or_unknown_kind() -> None:
    foreign = craft(dsa_key().public_key(), key(), {})
    assert not keys.matches(key(), foreign)
    # An algorithm that the library has never heard of: the last byte of id-ecPublicKey changed.
    known, unknown = bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d027f")
    der = certificates.to_der(craft(key().public_key(), key(), {})).replace(known, unknown)
    assert not keys.matches(key(), x509.load_der_x509_certificate(der))


@pytest.mark.parametrize("text", CA_SPECS)
def test_the_key_id_is_the_cut_sha256_of_the_public_keys_bits(text: str) -> None:
    public = key(text).public_key()
    # SubjectPublicKeyInfo ends with the BIT STRING, whose content the library's SHA-1 form also hashes.
    info = keys.public_key_info(public)
    bits = next(
        info[start:]
        for start in range(len(info))
        if hashlib.sha1(info[start:]).digest() == x509.SubjectKeyIdentifier.from_public_key(public).digest
    )
    assert keys.subject_key_id(public) == hashlib.sha256(bits).digest()[:20]


def test_the_key_id_never_changes() -> None:
    public = ed25519.Ed25519PublicKey.from_public_bytes(bytes(range(32)))
    assert keys.subject_key_id(public).hex() == "630dcd2966c4336691125448bbb25b4ff412a49c"


def test_same_key_compares_keys_and_not_objects() -> None:
    again = serialization.load_pem_public_key(
        key().public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    assert keys.same_key(keys.known_key(again), key().public_key())
    assert not keys.same_key(key().public_key(), key("ECDSA 256", "other").public_key())
    assert not keys.same_key(key().public_key(), key("RSA 2048").public_key())
