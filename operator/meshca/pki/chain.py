"""Certification paths: is this certificate trusted by these roots at this moment, and if not, why.

Hand-written because the library's path validator is made for the web: it refuses P-224 and Ed25519 CAs,
which mesh peers accept, and knows no name but DNS and IP. What is checked is RFC 5280 section 6.1 for
chains without policies and name constraints: names, signatures by allow-listed algorithms, validity,
basicConstraints, pathLen, keyUsage, key identifiers and critical extensions. Anything critical that is not
understood refuses the path. Input may come from a status that anybody wrote, so work is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from meshca.errors import InvalidError
from meshca.pki.certificates import (
    CHAIN_LIMIT,
    CHAIN_LIMIT_BYTES,
    Facts,
    authority_key_id_of,
    extension,
    facts,
    fingerprint,
    is_ca,
    load_all,
    path_length_of,
    public_key_of,
    subject_key_id_of,
)
from meshca.pki.garbage import GARBAGE
from meshca.pki.imported import check_imported_root
from meshca.pki.keys import check_ca_key
from meshca.pki.signatures import check_algorithm

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

__all__ = ["Facts", "IssuedChain", "chain_facts", "check_imported_root", "check_issued", "facts", "verify"]

_SIGNATURE_CHECKS: Final = 64
_UNDERSTOOD: Final = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
}
_EXTENDED: Final = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}

UNKNOWN_ROOT: Final = "UnknownRoot"
EXPIRED: Final = "Expired"
NOT_YET_VALID: Final = "NotYetValid"
NOT_A_CHAIN: Final = "NotAChain"
NOT_A_CA: Final = "NotACA"
PATH_TOO_LONG: Final = "PathTooLong"
BAD_SIGNATURE: Final = "BadSignature"
BAD_EXTENSION: Final = "BadExtension"
BAD_KEY: Final = "BadKey"
TOO_COMPLEX: Final = "TooComplex"


@dataclass(frozen=True, slots=True)
class IssuedChain:
    """A leaf, the signer right above it, and every certificate of the text in its order."""

    leaf: Facts
    signer: Facts
    certificates: tuple[x509.Certificate, ...]


def chain_facts(text: str | bytes, *, limit: int = CHAIN_LIMIT_BYTES) -> IssuedChain:
    """Read an issued chain out of PEM text that a user may have written; ``limit`` is in bytes.

    A leaf, then the signer that signed it (verified), then anything. Which root trusts the signer is not
    decided here. ``InvalidError`` with the reasons of ``verify``, and ``Invalid`` for garbage.
    """
    certificates = load_all(text, limit_bytes=limit)
    if len(certificates) < 2:  # noqa: PLR2004  a leaf and its signer
        raise InvalidError("certificate chain: it holds a leaf without its signer", reason=NOT_A_CHAIN)
    leaf, signer = certificates[:2]
    if is_ca(leaf) or not is_ca(signer):
        raise InvalidError("certificate chain: it is not a leaf followed by its signer", reason=NOT_A_CHAIN)
    check_issued(leaf, signer)
    return IssuedChain(facts(leaf), facts(signer), tuple(certificates))


def check_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    """Refuse a certificate that was not signed by an issuer; ``InvalidError`` with a reason."""
    if not _may_be_issuer(certificate, issuer):
        raise InvalidError(
            f"{_name(certificate)} was not issued by {_name(issuer)}: names or key identifiers differ",
            reason=NOT_A_CHAIN,
        )
    try:
        check_algorithm(certificate.signature_algorithm_oid, public_key_of(issuer))
    except InvalidError as error:
        raise InvalidError(f"{_name(certificate)}: {error.message}", reason=BAD_SIGNATURE) from None
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *GARBAGE):
        raise InvalidError(
            f"{_name(certificate)}: the signature does not verify under the key of {_name(issuer)}",
            reason=BAD_SIGNATURE,
        ) from None


def verify(
    certificate: x509.Certificate,
    intermediates: Iterable[x509.Certificate],
    roots: Iterable[x509.Certificate],
    *,
    at: datetime,
) -> list[x509.Certificate]:
    """Find a path from a leaf or CA certificate up to one of the roots that is valid at a moment (UTC).

    Returns the certificates from the first to the root. ``InvalidError`` whose reason (``UnknownRoot``,
    ``Expired``, ``NotYetValid``, ``NotACA``, ``PathTooLong``, ``BadSignature``, ``BadExtension``, ``BadKey``,
    ``TooComplex``) is that of the attempt that came furthest. All input but the roots may be hostile.
    """
    search = _Search(tuple(roots), tuple(intermediates), at)
    search.check_usable(certificate)
    path = search.climb([certificate])
    if path is None:
        raise search.failure
    return path


class _Search:
    """One depth-first search, with the failure that came furthest and the work that is left."""

    def __init__(
        self, roots: tuple[x509.Certificate, ...], others: tuple[x509.Certificate, ...], at: datetime
    ) -> None:
        self._roots = {fingerprint(root) for root in roots}
        self._candidates = (*roots, *others)
        self._at = at
        self._signatures_left = _SIGNATURE_CHECKS
        self._depth = -1
        self.failure = InvalidError("no root", reason=UNKNOWN_ROOT)

    def climb(self, path: list[x509.Certificate]) -> list[x509.Certificate] | None:
        top = path[-1]
        if fingerprint(top) in self._roots:
            return path
        if len(path) == CHAIN_LIMIT:
            self._note(len(path), InvalidError("the path is too long", reason=TOO_COMPLEX))
            return None
        self._note(
            len(path) - 1,
            InvalidError(f"unknown root: nothing that is trusted issued {_name(top)}", reason=UNKNOWN_ROOT),
        )
        for candidate in self._candidates:
            if candidate not in path and _may_be_issuer(top, candidate):
                try:
                    self._check_step(path, candidate)
                except InvalidError as error:
                    self._note(len(path), error)
                    continue
                found = self.climb([*path, candidate])
                if found:
                    return found
        return None

    def _note(self, depth: int, failure: InvalidError) -> None:
        if depth > self._depth:
            self._depth, self.failure = depth, failure

    def _check_step(self, path: Sequence[x509.Certificate], issuer: x509.Certificate) -> None:
        # Self-issued certificates do not count (RFC 5280 section 4.2.1.9), nor does the first of the path.
        below = sum(between.subject != between.issuer for between in path[1:])
        self.check_usable(issuer)
        _check_issuer(issuer, below)
        if not self._signatures_left:
            raise InvalidError("too many signatures to check", reason=TOO_COMPLEX)
        self._signatures_left -= 1
        check_issued(path[-1], issuer)

    def check_usable(self, certificate: x509.Certificate) -> None:
        if certificate.not_valid_after_utc < self._at:
            raise InvalidError(f"{_name(certificate)} has expired", reason=EXPIRED)
        if certificate.not_valid_before_utc > self._at:
            raise InvalidError(f"{_name(certificate)} is not yet valid", reason=NOT_YET_VALID)
        for found in certificate.extensions:
            if found.critical and found.oid not in _UNDERSTOOD:
                raise InvalidError(
                    f"{_name(certificate)} has critical extension {found.oid.dotted_string}",
                    reason=BAD_EXTENSION,
                )
        extended = extension(certificate, x509.ExtendedKeyUsage)
        if extended and not _EXTENDED.issubset(extended.value):
            raise InvalidError(
                f"{_name(certificate)}: extKeyUsage leaves out server or client authentication",
                reason=BAD_EXTENSION,
            )


def _check_issuer(issuer: x509.Certificate, below: int) -> None:
    if not is_ca(issuer):
        raise InvalidError(f"{_name(issuer)} is not a CA", reason=NOT_A_CA)
    usage = extension(issuer, x509.KeyUsage)
    if usage and not usage.value.key_cert_sign:
        raise InvalidError(f"{_name(issuer)}: keyUsage lacks keyCertSign", reason=NOT_A_CA)
    limit = path_length_of(issuer)
    if limit is not None and below > limit:
        raise InvalidError(f"{_name(issuer)}: pathLen {limit} is exceeded", reason=PATH_TOO_LONG)
    try:
        check_ca_key(issuer.public_key())
    except InvalidError as error:
        raise InvalidError(f"{_name(issuer)}: {error.message}", reason=BAD_KEY) from None


def _may_be_issuer(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    if certificate.issuer != issuer.subject:
        return False
    wanted, have = authority_key_id_of(certificate), subject_key_id_of(issuer)
    return not wanted or not have or wanted == have


def _name(certificate: x509.Certificate) -> str:
    return f"certificate {fingerprint(certificate)[:10]}"
