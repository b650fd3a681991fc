"""What must be true of a certificate before it leaves, whoever built it.

Written from the standards and not from our templates, so that a wrong template is caught, and applied to
what a remote provider returns just as well. ``InvalidError`` with reason ``LintFailed`` lists every
finding. The X- numbers are rows of docs/acceptance.md. Decides nothing about trust: whether a signature
verifies is for chain.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from meshca.errors import InvalidError
from meshca.pki.certificates import by_oid, path_length_of, pick, subject_key_id_of, uris_of
from meshca.pki.issuer import check_can_issue
from meshca.pki.keys import PublicKey, check_leaf_key
from meshca.pki.signatures import check_algorithm

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from meshca.pki.certificates import Extensions
    from meshca.pki.identity import SPIFFEID, TrustDomain
    from meshca.pki.issuer import Issuer
    from meshca.pki.names import IPAddress

REASON: Final = "LintFailed"
# At most 20 octets with the sign (RFC 5280 section 4.1.2.2); a small one is a counter, so guessable.
_SERIAL_BITS: Final = range(32, 160)
_SERVER_AND_CLIENT: Final = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
_MAY_BE_CRITICAL: Final = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
}


def lint_leaf(
    certificate: x509.Certificate,
    issuer: Issuer,
    *,
    public_key: PublicKey,
    spiffe_id: SPIFFEID,
    dns_names: Collection[str] = (),
    ip_addresses: Collection[IPAddress] = (),
) -> None:
    """Refuse a leaf that is not exactly the X509-SVID that was granted (X-01 to X-15)."""
    extensions = by_oid(certificate.extensions)
    _raise(
        [
            *_validity(certificate, issuer),
            *_under(certificate, extensions, issuer),
            *_critical(extensions),
            *_leaf_key(certificate, public_key),
            *_leaf_usage(extensions),
            *_leaf_names(certificate, extensions, spiffe_id.uri, dns_names, ip_addresses),
            *_leaf_id(spiffe_id, issuer),
        ]
    )


def lint_root(certificate: x509.Certificate, *, trust_domain: TrustDomain) -> None:
    """Refuse a generated root that strict peers or a later cross-signature trip over (X-20 to X-32)."""
    found = [*_validity(certificate, None), *_critical(by_oid(certificate.extensions))]
    found += _ca(certificate, (trust_domain.uri,))
    if certificate.issuer != certificate.subject:
        found.append("a root's issuer must be its subject")
    if path_length_of(certificate) is not None:
        found.append("X-24 a generated root must have no pathLen")
    _raise(found)


def lint_signer(certificate: x509.Certificate, issuer: Issuer, *, trust_domain: TrustDomain) -> None:
    """Refuse a signer that is not a pathLen 0 CA of this trust domain under this issuer (X-20 to X-32)."""
    found = _ca_under(certificate, issuer, (trust_domain.uri,))
    if path_length_of(certificate) != 0:
        found.append("X-24 a signer's pathLen must be 0")
    if certificate.public_key() == issuer.public_key:
        found.append("a signer must have a key of its own")
    if certificate.subject == issuer.subject:
        found.append("X-30 a signer must have a subject of its own")
    _raise(found)


def lint_cross(certificate: x509.Certificate, issuer: Issuer, *, new_root: x509.Certificate) -> None:
    """Refuse a cross-certificate that is not the new root's name, key and limits under the issuer (X-31)."""
    found = _ca_under(certificate, issuer, uris_of(new_root))
    same = (
        ("subject", certificate.subject == new_root.subject),
        ("key", certificate.public_key() == new_root.public_key()),
        ("subjectKeyIdentifier", subject_key_id_of(certificate) == subject_key_id_of(new_root)),
        ("pathLen", path_length_of(certificate) == path_length_of(new_root)),
    )
    found += [
        f"X-31 a cross-certificate's {what} must be the new root's" for what, holds in same if not holds
    ]
    if certificate.serial_number == new_root.serial_number:
        found.append("X-31 a cross-certificate needs a serial number of its own")
    if certificate.not_valid_after_utc > new_root.not_valid_after_utc:
        found.append("X-31 a cross-certificate must not outlive the new root")
    _raise(found)


def _raise(findings: list[str]) -> None:
    if findings:
        raise InvalidError(f"the certificate fails its lint: {'; '.join(findings)}", reason=REASON)


def _validity(certificate: x509.Certificate, issuer: Issuer | None) -> Iterator[str]:
    if certificate.version is not x509.Version.v3:
        yield "the version must be 3"
    if certificate.serial_number.bit_length() not in _SERIAL_BITS:
        yield "X-14 the serial number must be positive and random, of 32 to 159 bits"
    if certificate.not_valid_before_utc >= certificate.not_valid_after_utc:
        yield "the validity is empty"
    if issuer and certificate.not_valid_after_utc > issuer.not_after:
        yield "X-13 NotAfter is later than the issuer's"


def _under(certificate: x509.Certificate, extensions: Extensions, issuer: Issuer) -> Iterator[str]:
    if certificate.issuer != issuer.subject:
        yield "the issuer must be the subject of the issuer"
    aki = pick(extensions, x509.AuthorityKeyIdentifier)
    if aki is None or aki.value != issuer.authority_key_id:
        yield "X-14 authorityKeyIdentifier must be the issuer's subjectKeyIdentifier and nothing else"
    try:
        check_algorithm(certificate.signature_algorithm_oid, issuer.public_key)
    except InvalidError as error:
        yield error.message


def critical_findings(certificate: x509.Certificate) -> list[str]:
    """List the critical extensions that a peer may not understand."""
    return list(_critical(by_oid(certificate.extensions)))


def _critical(extensions: Extensions) -> Iterator[str]:
    for oid, found in extensions.items():
        if found.critical and oid not in _MAY_BE_CRITICAL:
            yield f"extension {oid.dotted_string} must not be critical"


def _ca_under(certificate: x509.Certificate, issuer: Issuer, uris: Collection[str]) -> list[str]:
    extensions = by_oid(certificate.extensions)
    return [
        *_validity(certificate, issuer),
        *_under(certificate, extensions, issuer),
        *_critical(extensions),
        *_ca(certificate, uris),
    ]


def _ca(certificate: x509.Certificate, uris: Collection[str]) -> Iterator[str]:
    try:
        check_can_issue(certificate)
    except InvalidError as error:
        yield f"X-23 to X-25 {error.message}"
    if tuple(uris_of(certificate)) != tuple(uris):
        yield "X-20 to X-22 the URI must be the trust domain's"


def _leaf_key(certificate: x509.Certificate, public_key: PublicKey) -> Iterator[str]:
    found = certificate.public_key()
    if found != public_key:
        yield "X-12 the public key must be the requester's"
    try:
        check_leaf_key(found)
    except InvalidError as error:
        yield error.message


def _leaf_usage(extensions: Extensions) -> Iterator[str]:
    basic = pick(extensions, x509.BasicConstraints)
    if basic is None or not basic.critical or basic.value.ca:
        yield "X-05 basicConstraints must be critical and CA:FALSE"
    usage = pick(extensions, x509.KeyUsage)
    if usage is None or not usage.critical:
        yield "X-06 keyUsage must be critical"
    if usage and not usage.value.digital_signature:
        yield "X-07 keyUsage must have digitalSignature"
    if usage and (usage.value.key_cert_sign or usage.value.crl_sign):
        yield "X-08 keyUsage must not have keyCertSign or cRLSign"
    extended = pick(extensions, x509.ExtendedKeyUsage)
    if extended is None:
        yield "X-10 extKeyUsage is missing"
    elif set(extended.value) != _SERVER_AND_CLIENT:
        yield "X-11 extKeyUsage must be serverAuth and clientAuth"


def _leaf_names(
    certificate: x509.Certificate,
    extensions: Extensions,
    uri: str,
    dns_names: Collection[str],
    ip_addresses: Collection[IPAddress],
) -> Iterator[str]:
    found = pick(extensions, x509.SubjectAlternativeName)
    names = list(found.value) if found else []
    if not certificate.subject.rdns and found and not found.critical:
        yield "X-04 alternative names must be critical, since the subject is empty"
    if [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)] != [uri]:
        yield "X-01 the one URI must be the SPIFFE ID"
    granted: set[x509.GeneralName] = {x509.DNSName(name) for name in dns_names}
    granted |= {x509.IPAddress(address) for address in ip_addresses}
    if {name for name in names if not isinstance(name, x509.UniformResourceIdentifier)} != granted:
        yield "X-02 the other names must be exactly the granted ones"


def _leaf_id(spiffe_id: SPIFFEID, issuer: Issuer) -> Iterator[str]:
    if not spiffe_id.path:
        yield "X-03 the SPIFFE ID of a leaf needs a path"
    if issuer.uris and issuer.uris != (spiffe_id.trust_domain.uri,):
        yield "X-15 the SPIFFE ID is of another trust domain than the issuer"
