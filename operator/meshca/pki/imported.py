"""A root that a user brings along: every check it must pass before anything is signed with it.

Each failure has a text of its own that says what to change. A root is refused here rather than used and
then refused by peers. Never changes the certificate, and never repeats a byte of the key.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshca.errors import InvalidError
from meshca.pki.certificates import extension, load_one, path_length_of, public_key_of, trust_domain_of
from meshca.pki.garbage import GARBAGE
from meshca.pki.issuer import check_can_issue
from meshca.pki.keys import PrivateKey, check_ca_key, load_private, matches
from meshca.pki.lint import critical_findings
from meshca.pki.profile import hours
from meshca.pki.signatures import check_algorithm

if TYPE_CHECKING:
    from meshca.pki.identity import TrustDomain

PATH_LENGTH_MIN: Final = 2
_USAGES: Final = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


def check_imported_root(
    cert_pem: str | bytes,
    key_pem: str | bytes,
    *,
    now: datetime,
    trust_domain: TrustDomain | None,
    min_remaining: timedelta = timedelta(0),
) -> tuple[x509.Certificate, PrivateKey]:
    """Return a user's root and key once every check has passed; ``InvalidError`` names the first failure.

    ``now`` in UTC; a root with ``min_remaining`` or less of its life left is refused. Loading an RSA key
    checks it and takes a tenth of a second.
    """
    certificate = _certificate(cert_pem)
    _check_key_and_signature(certificate)
    _check_validity(certificate, now, min_remaining)
    _check_constraints(certificate)
    _check_uri(certificate, trust_domain)
    key = _key(key_pem)
    if not matches(key, certificate):
        raise InvalidError("root key: it does not belong to the root certificate")
    return certificate, key


def _certificate(text: str | bytes) -> x509.Certificate:
    if not text.strip():
        raise InvalidError("root certificate: it is blank")
    try:
        return load_one(text)
    except InvalidError as error:
        raise InvalidError(f"root certificate: {error.message}") from None


def _key(text: str | bytes) -> PrivateKey:
    if not text.strip():
        raise InvalidError("root key: it is blank")
    try:
        return load_private(text.encode() if isinstance(text, str) else text)
    except InvalidError as error:
        raise InvalidError(f"root key: {error.message}") from None


def _check_key_and_signature(certificate: x509.Certificate) -> None:
    if certificate.issuer != certificate.subject:
        raise InvalidError("root certificate: it is not self-signed: its issuer is not its subject")
    try:
        check_ca_key(certificate.public_key())
        check_algorithm(certificate.signature_algorithm_oid, public_key_of(certificate))
        certificate.verify_directly_issued_by(certificate)
    except InvalidError as error:
        raise InvalidError(f"root certificate: {error.message}") from None
    except (InvalidSignature, *GARBAGE):
        raise InvalidError(
            "root certificate: it is not self-signed: its signature does not verify under its own key"
        ) from None


def _check_validity(certificate: x509.Certificate, now: datetime, min_remaining: timedelta) -> None:
    starts, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if starts > now:
        raise InvalidError(f"root certificate: it is not yet valid, before {_stamp(starts)}")
    if ends <= now:
        raise InvalidError(f"root certificate: it has expired at {_stamp(ends)}")
    if ends - now < min_remaining:
        raise InvalidError(
            f"root certificate: it expires too soon, at {_stamp(ends)};"
            f" at least {hours(min_remaining)} must be left"
        )


def _check_constraints(certificate: x509.Certificate) -> None:
    try:
        check_can_issue(certificate)
    except InvalidError as error:
        raise InvalidError(f"root certificate: {error.message}") from None
    path_length = path_length_of(certificate)
    if path_length is not None and path_length < PATH_LENGTH_MIN:
        raise InvalidError(
            f"root certificate: its pathLen is {path_length}; "
            f"it must be absent or at least {PATH_LENGTH_MIN}, for a signer below a cross-certificate"
        )
    extended = extension(certificate, x509.ExtendedKeyUsage)
    if extended and not _USAGES.issubset(extended.value):
        raise InvalidError("root certificate: its extKeyUsage leaves out server or client authentication")
    if extension(certificate, x509.NameConstraints):
        raise InvalidError("root certificate: it has name constraints, which many peers do not understand")
    for finding in critical_findings(certificate):
        raise InvalidError(f"root certificate: {finding}")


def _check_uri(certificate: x509.Certificate, trust_domain: TrustDomain | None) -> None:
    try:
        found = trust_domain_of(certificate)
    except InvalidError as error:
        raise InvalidError(f"root certificate: {error.message}") from None
    if found and trust_domain and found != trust_domain:
        raise InvalidError(f"root certificate: its trust domain is {found}, not {trust_domain}")


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
