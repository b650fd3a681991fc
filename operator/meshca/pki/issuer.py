"""A CA certificate as the one that signs: what every certificate under it takes from it.

Decides whether a certificate may issue at all; never holds a private key. Worked out once for each
certificate and kept, because a leaf is made in a fraction of a millisecond.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Self

from cryptography import x509

from meshca.errors import InvalidError
from meshca.pki.certificates import extension, path_length_of, public_key_of, subject_key_id_of, uris_of
from meshca.pki.keys import PublicKey, check_ca_key

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Issuer:
    """What a CA certificate gives to the certificates it signs; moments in UTC."""

    certificate: x509.Certificate
    public_key: PublicKey
    subject: x509.Name
    subject_key_id: bytes
    not_after: datetime
    path_length: int | None
    uris: tuple[str, ...]

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Self:
        """Read an issuer out of a certificate; ``InvalidError`` when RFC 5280 does not let it issue."""
        check_can_issue(certificate)
        return cls(
            certificate=certificate,
            public_key=public_key_of(certificate),
            subject=certificate.subject,
            subject_key_id=subject_key_id_of(certificate),
            not_after=certificate.not_valid_after_utc,
            path_length=path_length_of(certificate),
            uris=uris_of(certificate),
        )

    @property
    def authority_key_id(self) -> x509.AuthorityKeyIdentifier:
        """Return the extension that points at this issuer from below (RFC 5280 section 4.2.1.1)."""
        return x509.AuthorityKeyIdentifier(self.subject_key_id, None, None)


@lru_cache(maxsize=256)
def issuer_of(certificate: x509.Certificate) -> Issuer:
    """Return the issuer that a certificate is, from a cache; ``InvalidError`` as ``Issuer.of``."""
    return Issuer.of(certificate)


def check_can_issue(certificate: x509.Certificate) -> None:
    """Refuse a certificate that strict peers would not accept as an issuer with ``InvalidError``.

    A CA of a supported key, keyCertSign, both extensions critical, a name and a key identifier (RFC 5280
    sections 4.1.2.6, 4.2.1.2, 4.2.1.3, 4.2.1.9).
    """
    basic = extension(certificate, x509.BasicConstraints)
    if basic is None or not basic.value.ca:
        raise InvalidError("it is not a CA certificate (basicConstraints CA:TRUE is missing)")
    usage = extension(certificate, x509.KeyUsage)
    if usage is None or not usage.value.key_cert_sign:
        raise InvalidError("its keyUsage does not allow signing certificates (keyCertSign is missing)")
    if not (basic.critical and usage.critical):
        raise InvalidError("its basicConstraints and keyUsage must be critical")
    if not certificate.subject.rdns:
        raise InvalidError("its subject is empty")
    if not subject_key_id_of(certificate):
        raise InvalidError("it has no subjectKeyIdentifier")
    check_ca_key(certificate.public_key())
