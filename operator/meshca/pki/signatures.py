"""Which signature algorithms are believed and made.

Decides by allow-list, for requests, imported roots and paths alike; SHA-1, MD5 and SHA-224 are on none.
The hash follows the key (RFC 5480 section 4 for strength), never a certificate that was signed before:
an RSA root may sign the certificate of an ECDSA key and the other way round.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509 import ObjectIdentifier
from cryptography.x509.oid import SignatureAlgorithmOID as Oid

from meshca.errors import InvalidError
from meshca.pki.keys import KeyAlgorithm, KeySpec, PrivateKey, PublicKey, generate, spec_of

_ALLOWED: Final = {
    Oid.ECDSA_WITH_SHA256: KeyAlgorithm.ECDSA,
    Oid.ECDSA_WITH_SHA384: KeyAlgorithm.ECDSA,
    Oid.ECDSA_WITH_SHA512: KeyAlgorithm.ECDSA,
    Oid.RSA_WITH_SHA256: KeyAlgorithm.RSA,
    Oid.RSA_WITH_SHA384: KeyAlgorithm.RSA,
    Oid.RSA_WITH_SHA512: KeyAlgorithm.RSA,
    Oid.ED25519: KeyAlgorithm.ED25519,
}
_NAMES: Final = {oid: name for name, oid in vars(Oid).items() if isinstance(oid, ObjectIdentifier)}
_Hash = hashes.SHA256 | hashes.SHA384 | hashes.SHA512
_RSA_HASH: Final = hashes.SHA256()
_ECDSA_HASHES: Final[dict[int, _Hash]] = {
    224: hashes.SHA256(),
    256: hashes.SHA256(),
    384: hashes.SHA384(),
    521: hashes.SHA512(),
}


def check_algorithm(oid: ObjectIdentifier, signer: PublicKey) -> None:
    """Refuse a signature algorithm that is weak, unknown or not of the signer's kind of key.

    ``InvalidError`` names the algorithm. RSA-PSS is not on it: nothing in a mesh needs it.
    """
    wanted = _ALLOWED.get(oid)
    name = _NAMES.get(oid, oid.dotted_string)
    if wanted is None:
        raise InvalidError(
            f"signature algorithm {name} is not allowed; allowed are ECDSA and RSA (PKCS #1 v1.5)"
            " with SHA-256, SHA-384 or SHA-512, and Ed25519"
        )
    have = spec_of(signer).algorithm
    if have is not wanted:
        raise InvalidError(f"signature algorithm {name} does not fit a key of algorithm {have}")


def hash_for(public: PublicKey) -> _Hash | None:
    """Return the hash that a key signs with; none for Ed25519, which has its own."""
    if isinstance(public, ec.EllipticCurvePublicKey):
        return _ECDSA_HASHES[public.curve.key_size]
    return _RSA_HASH if isinstance(public, rsa.RSAPublicKey) else None


def sign(key: PrivateKey, data: bytes) -> bytes:
    """Sign bytes with the one algorithm that ``hash_for`` gives to this key."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), _RSA_HASH)
    return key.sign(data, ec.ECDSA(_ECDSA_HASHES[key.curve.key_size]))


def throw_away(public: PublicKey) -> PrivateKey:
    """Return a key that signs with the same algorithm identifier and means nothing to anybody."""
    return _throw_away(spec_of(public).algorithm)


@cache
def _throw_away(algorithm: KeyAlgorithm) -> PrivateKey:
    # The identifier names the hash and not the curve or size, so the fastest key will do.
    size = {KeyAlgorithm.ECDSA: 256, KeyAlgorithm.RSA: 2048, KeyAlgorithm.ED25519: 0}[algorithm]
    return generate(KeySpec(algorithm, size))
