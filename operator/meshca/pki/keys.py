"""Which keys are good enough, and how they are made, read, written and compared.

Decides on algorithms and sizes; never on who may use a key. Texts of errors name algorithm, size and
what is allowed, and never anything of the key itself: what a parser says about a private key is dropped,
because it may quote its input.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Final, Self, cast

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from meshca.errors import InvalidError
from meshca.pki.garbage import GARBAGE

if TYPE_CHECKING:
    from cryptography import x509

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

PEM_LIMIT_BYTES: Final = 32 * 1024
RSA_EXPONENT: Final = 65537
# A larger exponent only makes every peer's signature check slower.
_RSA_EXPONENT_MAX: Final = 2**32 - 1
_CURVES: Final[dict[int, type[ec.EllipticCurve]]] = {
    224: ec.SECP224R1,
    256: ec.SECP256R1,
    384: ec.SECP384R1,
    521: ec.SECP521R1,
}


class KeyAlgorithm(StrEnum):
    """Key algorithms as ``spec.privateKey.algorithm`` writes them."""

    ECDSA = "ECDSA"
    RSA = "RSA"
    ED25519 = "Ed25519"


_DEFAULT_SIZE: Final = {KeyAlgorithm.ECDSA: 256, KeyAlgorithm.RSA: 3072, KeyAlgorithm.ED25519: 0}

_ALGORITHMS: Final[dict[type, KeyAlgorithm]] = {
    ec.EllipticCurvePublicKey: KeyAlgorithm.ECDSA,
    rsa.RSAPublicKey: KeyAlgorithm.RSA,
    ed25519.Ed25519PublicKey: KeyAlgorithm.ED25519,
}


@dataclass(frozen=True, slots=True)
class KeySpec:
    """An algorithm and its size in bits; Ed25519 has size 0."""

    algorithm: KeyAlgorithm
    size: int

    @classmethod
    def of(cls, algorithm: KeyAlgorithm | str, size: int | None = None) -> Self:
        """Build a specification, the default size filled in; ``InvalidError`` for an unknown algorithm."""
        try:
            known = KeyAlgorithm(algorithm)
        except ValueError:
            names = ", ".join(KeyAlgorithm)
            raise InvalidError(
                f"key algorithm {str(algorithm)[:32]!r} is unknown; known are {names}"
            ) from None
        return cls(known, _DEFAULT_SIZE[known] if size is None else size)

    def __str__(self) -> str:
        return f"{self.algorithm} {self.size}" if self.size else str(self.algorithm)


_ED25519: Final = KeySpec(KeyAlgorithm.ED25519, 0)


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """An allow-list of keys for one purpose; ``rsa`` is an inclusive range if ``rsa_between``."""

    purpose: str
    ecdsa: tuple[int, ...]
    rsa: tuple[int, ...]
    rsa_between: bool = False

    def allows(self, spec: KeySpec) -> bool:
        """Tell whether a key of this algorithm and size may be used."""
        if spec.algorithm is KeyAlgorithm.ECDSA:
            return spec.size in self.ecdsa
        if spec.algorithm is KeyAlgorithm.RSA:
            return self.rsa[0] <= spec.size <= self.rsa[-1] if self.rsa_between else spec.size in self.rsa
        return spec.size == 0

    def describe(self) -> str:
        """Name everything that is allowed, for texts of errors."""
        ecdsa = "/".join(map(str, self.ecdsa))
        rsa_sizes = f"{self.rsa[0]} to {self.rsa[-1]}" if self.rsa_between else "/".join(map(str, self.rsa))
        return f"ECDSA {ecdsa}, RSA {rsa_sizes}, Ed25519"

    def check_spec(self, spec: KeySpec) -> None:
        """Refuse an algorithm or size outside the list with ``InvalidError``."""
        if not self.allows(spec):
            raise InvalidError(f"{self.purpose} key {spec} is not allowed; allowed are {self.describe()}")

    def check(self, public: object) -> KeySpec:
        """Return what a public key is; ``InvalidError`` for one outside the list or with an odd exponent."""
        spec = spec_of(public)
        self.check_spec(spec)
        if spec.algorithm is KeyAlgorithm.RSA:
            exponent = cast("rsa.RSAPublicKey", public).public_numbers().e
            if exponent % 2 == 0 or not RSA_EXPONENT <= exponent <= _RSA_EXPONENT_MAX:
                raise InvalidError(
                    f"{self.purpose} key {spec} has an unsafe public exponent; use {RSA_EXPONENT}"
                )
        return spec


CA_KEYS: Final = KeyPolicy("CA", ecdsa=(224, 256, 384, 521), rsa=(2048, 3072, 4096))
LEAF_KEYS: Final = KeyPolicy("leaf", ecdsa=(256, 384, 521), rsa=(2048, 8192), rsa_between=True)


@cache
def _algorithm_of(kind: type) -> KeyAlgorithm | None:
    # Kept, because asking abstract classes is slow and a leaf's key is looked at ten times.
    return next((algorithm for base, algorithm in _ALGORITHMS.items() if issubclass(kind, base)), None)


@cache
def _of_curve(curve: type[ec.EllipticCurve]) -> KeySpec | None:
    size = next((size for size, known in _CURVES.items() if issubclass(curve, known)), None)
    return None if size is None else KeySpec(KeyAlgorithm.ECDSA, size)


def spec_of(public: object) -> KeySpec:
    """Say what a public key is; ``InvalidError`` when it is of a kind that meshca never uses."""
    algorithm = _algorithm_of(type(public))  # type: ignore[arg-type]  # mypy takes no class for hashable
    if algorithm is KeyAlgorithm.ECDSA:
        curve = cast("ec.EllipticCurvePublicKey", public).curve
        spec = _of_curve(type(curve))
        if spec is None:
            raise InvalidError(
                f"ECDSA curve {curve.name} is not supported; supported are P-224, P-256, P-384, P-521"
            )
        return spec
    if algorithm is KeyAlgorithm.RSA:
        return KeySpec(algorithm, cast("rsa.RSAPublicKey", public).key_size)
    if algorithm is KeyAlgorithm.ED25519:
        return _ED25519
    name = type(public).__name__.removesuffix("PublicKey")
    raise InvalidError(f"key algorithm {name} is not supported; supported are {', '.join(KeyAlgorithm)}")


def known_key(public: object) -> PublicKey:
    """Narrow a parsed public key to the kinds meshca uses; ``InvalidError`` for any other."""
    spec_of(public)
    return cast("PublicKey", public)


def check_ca_key(public: object) -> KeySpec:
    """Return what a CA's public key is; ``InvalidError`` outside ``CA_KEYS``."""
    return CA_KEYS.check(public)


def check_leaf_key(public: object) -> KeySpec:
    """Return what a leaf's public key is; ``InvalidError`` outside ``LEAF_KEYS``.

    The key comes from an untrusted requester.
    """
    return LEAF_KEYS.check(public)


def is_slow(spec: KeySpec) -> bool:
    """Tell whether making, loading or signing takes milliseconds, so that it belongs in a thread."""
    return spec.algorithm is KeyAlgorithm.RSA


def generate(spec: KeySpec) -> PrivateKey:
    """Make a new private key; ``InvalidError`` for a size that neither a CA nor a leaf may have."""
    if not (CA_KEYS.allows(spec) or LEAF_KEYS.allows(spec)):
        raise InvalidError(
            f"no key {spec} can be made; CA: {CA_KEYS.describe()}; leaf: {LEAF_KEYS.describe()}"
        )
    if spec.algorithm is KeyAlgorithm.ECDSA:
        return ec.generate_private_key(_CURVES[spec.size]())
    if spec.algorithm is KeyAlgorithm.RSA:
        return rsa.generate_private_key(public_exponent=RSA_EXPONENT, key_size=spec.size)
    return ed25519.Ed25519PrivateKey.generate()


def load_private(pem: bytes) -> PrivateKey:
    """Read an unencrypted PEM private key that a user supplied, RSA consistency checked (slow).

    PKCS #8, SEC 1 or PKCS #1, at most 32 KiB. ``InvalidError`` whose text and cause hold nothing of it.
    """
    return _load(pem, trusted=False)


def load_trusted(pem: bytes) -> PrivateKey:
    """Read a PEM private key out of our own Secret, without the slow consistency check of RSA keys."""
    return _load(pem, trusted=True)


def _load(pem: bytes, *, trusted: bool) -> PrivateKey:
    if len(pem) > PEM_LIMIT_BYTES:
        raise InvalidError(f"the private key is larger than {PEM_LIMIT_BYTES} bytes")
    try:
        key = serialization.load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=trusted)
    except GARBAGE:
        raise InvalidError(
            "the private key is not one unencrypted PEM key in PKCS #8, SEC 1 or PKCS #1 form"
        ) from None
    spec_of(key.public_key())
    assert isinstance(key, PrivateKey)
    return key


def to_pem(key: PrivateKey) -> bytes:
    """Write a private key as unencrypted PKCS #8 PEM, for a Secret and nothing else."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def matches(private: PrivateKey, certificate: x509.Certificate) -> bool:
    """Tell whether a certificate is about the public half of this key."""
    try:
        return private.public_key() == certificate.public_key()
    except GARBAGE:
        return False


def same_key(one: PublicKey, other: PublicKey) -> bool:
    """Tell whether two public keys are the same key."""
    return one == other


def public_key_info(public: PublicKey) -> bytes:
    """Write a public key as DER SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7)."""
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def subject_key_id(public: PublicKey) -> bytes:
    """Derive the 20-byte key identifier of a public key (RFC 7093 section 2, method 1).

    The leftmost 160 bits of SHA-256 over the key's BIT STRING: as stable and as short as the SHA-1 form of
    RFC 5280, and fit for machines where SHA-1 is switched off.
    """
    if isinstance(public, ec.EllipticCurvePublicKey):
        bits = public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    elif isinstance(public, rsa.RSAPublicKey):
        bits = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    else:
        bits = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(bits).digest()[:20]
