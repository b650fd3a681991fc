"""Reading certificates: DER to a certificate that holds no more surprises, and its facts.

The library parses lazily, so that a broken extension shows only when somebody asks for it. ``load`` asks
for everything once; after it no reader raises anything but what it documents. Decides nothing about trust.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeVar, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from meshca.errors import InvalidError
from meshca.pki import pem as pem_text
from meshca.pki.garbage import GARBAGE
from meshca.pki.identity import SPIFFEID, TrustDomain
from meshca.pki.keys import KeySpec, PublicKey, known_key, public_key_info, spec_of

if TYPE_CHECKING:
    from datetime import datetime

CHAIN_LIMIT_BYTES: Final = 64 * 1024
CHAIN_LIMIT: Final = 10
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
Extensions = dict[x509.ObjectIdentifier, "x509.Extension[x509.ExtensionType]"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is worth knowing of a certificate; hashes and ids in lower-case hex, "" where there is none."""

    fingerprint: str
    subject: str
    subject_key_id: str
    authority_key_id: str
    serial: str
    not_before: datetime
    not_after: datetime
    is_ca: bool
    path_length: int | None
    uris: tuple[str, ...]
    key_spec: KeySpec
    public_key_sha256: str


def load(der: bytes) -> x509.Certificate:
    """Parse one DER certificate from anywhere, all of it; ``InvalidError`` for garbage or a foreign key."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        facts(certificate)
        certificate.issuer  # noqa: B018  parsed when it is first asked for
    except GARBAGE:
        # What the parser says may quote bytes of the input, so it stays out.
        raise InvalidError("certificate: it cannot be decoded as X.509") from None
    return certificate


def load_all(
    text: str | bytes, *, limit_bytes: int = CHAIN_LIMIT_BYTES, limit: int = CHAIN_LIMIT
) -> list[x509.Certificate]:
    """Parse PEM text of 1 to ``limit`` certificates from an untrusted user; ``InvalidError`` otherwise."""
    blocks = pem_text.split(text, limit_bytes=limit_bytes)
    if len(blocks) > limit:
        raise InvalidError(f"PEM: {len(blocks)} certificates, more than {limit}")
    return [load(block) for block in blocks]


def load_one(text: str | bytes, *, limit_bytes: int = CHAIN_LIMIT_BYTES) -> x509.Certificate:
    """Parse PEM text of exactly one certificate; ``InvalidError`` otherwise."""
    return load(pem_text.split_one(text, limit_bytes=limit_bytes))


def to_der(certificate: x509.Certificate) -> bytes:
    """Return the DER of a certificate."""
    return certificate.public_bytes(serialization.Encoding.DER)


def to_pem(*certificates: x509.Certificate) -> str:
    """Write certificates as PEM text, each line ended."""
    return pem_text.encode(*map(to_der, certificates))


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate's DER in hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def public_key_of(certificate: x509.Certificate) -> PublicKey:
    """Return the public key of a certificate; ``InvalidError`` when it is of a kind meshca never uses."""
    return known_key(certificate.public_key())


def extension(certificate: x509.Certificate, kind: type[_Extension]) -> x509.Extension[_Extension] | None:
    """Return one extension, or none when the certificate does not have it."""
    # By OID, since the library's search by class asks an abstract class for each extension.
    for found in certificate.extensions:
        if found.oid == kind.oid:
            return cast("x509.Extension[_Extension]", found)
    return None


def subject_key_id_of(certificate: x509.Certificate) -> bytes:
    """Return the subjectKeyIdentifier, empty when there is none."""
    found = extension(certificate, x509.SubjectKeyIdentifier)
    return found.value.digest if found else b""


def authority_key_id_of(certificate: x509.Certificate) -> bytes:
    """Return the key identifier of authorityKeyIdentifier, empty when there is none."""
    found = extension(certificate, x509.AuthorityKeyIdentifier)
    return (found.value.key_identifier or b"") if found else b""


def uris_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the URIs among the subject alternative names."""
    found = extension(certificate, x509.SubjectAlternativeName)
    return tuple(found.value.get_values_for_type(x509.UniformResourceIdentifier)) if found else ()


def trust_domain_of(certificate: x509.Certificate) -> TrustDomain | None:
    """Return the trust domain of a CA certificate, none when it has no URI.

    ``InvalidError`` when it has several, or one that is not the ID of a trust domain itself (X-21, X-32).
    """
    uris = uris_of(certificate)
    if not uris:
        return None
    if len(uris) > 1:
        raise InvalidError(f"it has {len(uris)} URIs where at most one is allowed")
    found = SPIFFEID.parse(uris[0])
    if found.path:
        raise InvalidError("its URI has a path, so it is not the ID of a trust domain")
    return found.trust_domain


def is_ca(certificate: x509.Certificate) -> bool:
    """Tell whether basicConstraints says CA."""
    found = extension(certificate, x509.BasicConstraints)
    return found.value.ca if found else False


def path_length_of(certificate: x509.Certificate) -> int | None:
    """Return pathLenConstraint, none when there is no limit."""
    found = extension(certificate, x509.BasicConstraints)
    return found.value.path_length if found else None


def by_oid(extensions: x509.Extensions) -> Extensions:
    """Return the extensions of a certificate or request by their OID, for whoever asks for several."""
    return {found.oid: found for found in extensions}


def pick(extensions: Extensions, kind: type[_Extension]) -> x509.Extension[_Extension] | None:
    """Return one of the extensions by OID, or none when it is not there."""
    return cast("x509.Extension[_Extension] | None", extensions.get(kind.oid))


# Asked again and again for the same signers, and twice for each leaf that is read.
@lru_cache(maxsize=1024)
def facts(certificate: x509.Certificate) -> Facts:
    """Collect the facts of one certificate; ``InvalidError`` when its key is of a kind never used."""
    public, extensions = public_key_of(certificate), by_oid(certificate.extensions)
    own, issuers = pick(extensions, x509.SubjectKeyIdentifier), pick(extensions, x509.AuthorityKeyIdentifier)
    basic, names = pick(extensions, x509.BasicConstraints), pick(extensions, x509.SubjectAlternativeName)
    return Facts(
        fingerprint=fingerprint(certificate),
        subject=certificate.subject.rfc4514_string(),
        subject_key_id=own.value.digest.hex() if own else "",
        authority_key_id=(issuers.value.key_identifier or b"").hex() if issuers else "",
        serial=f"{certificate.serial_number:x}",
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        is_ca=basic.value.ca if basic else False,
        path_length=basic.value.path_length if basic else None,
        uris=tuple(names.value.get_values_for_type(x509.UniformResourceIdentifier)) if names else (),
        key_spec=spec_of(public),
        public_key_sha256=hashlib.sha256(public_key_info(public)).hexdigest(),
    )
