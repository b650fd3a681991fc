"""What goes into each kind of certificate, before anybody signs it.

Templates are unsigned builders of the library. They decide fields (SPIFFE X509-SVID sections 3 and 4, RFC
5280 section 4); whether the result is right is for the lint, which never looks at this module.
"""

from __future__ import annotations

import secrets
from datetime import UTC
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshca.pki.certificates import path_length_of, public_key_of, subject_key_id_of, uris_of
from meshca.pki.keys import PublicKey, is_slow, spec_of, subject_key_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from meshca.pki.identity import SPIFFEID, TrustDomain
    from meshca.pki.issuer import Issuer
    from meshca.pki.names import IPAddress

SERIAL_BITS: Final = 128
# Upper bounds of RFC 5280 appendix A.1 for commonName and organizationName.
_NAME_LIMIT: Final = 64

_NO_SUBJECT: Final = x509.Name([])
_CA_USAGE: Final = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
_LEAF_BASIC: Final = x509.BasicConstraints(ca=False, path_length=None)
_LEAF_EXTENDED: Final = x509.ExtendedKeyUsage(
    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
)


def _leaf_usage(*, encipher: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=encipher,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


# Only the RSA key exchange of TLS 1.2 needs it.
_LEAF_USAGE: Final = {encipher: _leaf_usage(encipher=encipher) for encipher in (False, True)}


def serial_number() -> int:
    """Return a random positive serial number of at most 128 bits (RFC 5280 section 4.1.2.2)."""
    return secrets.randbits(SERIAL_BITS) or 1


def root(
    public: PublicKey,
    *,
    trust_domain: TrustDomain,
    configuration: str,
    not_before: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    """Describe a self-signed root without pathLen, so that it can cross-sign any later root."""
    serial = serial_number()
    subject = _ca_name(f"{configuration} root", trust_domain, serial)
    own_id = subject_key_id(public)
    return _builder(
        public,
        subject=subject,
        issuer=subject,
        serial=serial,
        not_before=not_before,
        not_after=not_after,
        extensions=[
            *_ca_extensions(path_length=None, key_id=own_id, uris=(trust_domain.uri,)),
            (x509.AuthorityKeyIdentifier(own_id, None, None), False),
        ],
    )


def signer(
    public: PublicKey,
    issuer: Issuer,
    *,
    trust_domain: TrustDomain,
    name: str,
    not_before: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    """Describe the leaf-signing intermediate of one cluster, pathLen 0."""
    serial = serial_number()
    return _builder(
        public,
        subject=_ca_name(f"{name} signer", trust_domain, serial),
        issuer=issuer.subject,
        serial=serial,
        not_before=not_before,
        not_after=not_after,
        extensions=[
            *_ca_extensions(path_length=0, key_id=subject_key_id(public), uris=(trust_domain.uri,)),
            (issuer.authority_key_id, False),
        ],
    )


def cross(
    new_root: x509.Certificate, issuer: Issuer, *, not_before: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    """Describe the new root's subject, key, key id and names under another issuer."""
    return _builder(
        public_key_of(new_root),
        subject=new_root.subject,
        issuer=issuer.subject,
        serial=serial_number(),
        not_before=not_before,
        not_after=not_after,
        extensions=[
            *_ca_extensions(
                path_length=path_length_of(new_root),
                key_id=subject_key_id_of(new_root),
                uris=uris_of(new_root),
            ),
            (issuer.authority_key_id, False),
        ],
    )


def leaf(
    public: PublicKey,
    issuer: Issuer,
    *,
    spiffe_id: SPIFFEID,
    dns_names: Sequence[str],
    ip_addresses: Sequence[IPAddress],
    not_before: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    """Describe an X509-SVID: no subject, therefore critical alternative names."""
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(spiffe_id.uri)]
    names.extend(x509.DNSName(name) for name in dns_names)
    names.extend(x509.IPAddress(address) for address in ip_addresses)
    return _builder(
        public,
        subject=_NO_SUBJECT,
        issuer=issuer.subject,
        serial=serial_number(),
        not_before=not_before,
        not_after=not_after,
        extensions=[
            (_LEAF_BASIC, True),
            (_LEAF_USAGE[is_slow(spec_of(public))], True),
            (_LEAF_EXTENDED, False),
            (x509.SubjectKeyIdentifier(subject_key_id(public)), False),
            (issuer.authority_key_id, False),
            (x509.SubjectAlternativeName(names), True),
        ],
    )


def _ca_name(common_name: str, trust_domain: TrustDomain, serial: int) -> x509.Name:
    # The serial number attribute makes every subject unique: validators try all issuers of one name. The
    # other two are for people, so cutting them to their upper bounds loses nothing.
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain.name[:_NAME_LIMIT]),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name[-_NAME_LIMIT:]),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, f"{serial:032x}"),
        ]
    )


def _ca_extensions(
    *, path_length: int | None, key_id: bytes, uris: Sequence[str]
) -> list[tuple[x509.ExtensionType, bool]]:
    found: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (_CA_USAGE, True),
        (x509.SubjectKeyIdentifier(key_id), False),
    ]
    if uris:
        names = [x509.UniformResourceIdentifier(uri) for uri in uris]
        found.append((x509.SubjectAlternativeName(names), False))
    return found


def _builder(
    public: PublicKey,
    *,
    subject: x509.Name,
    issuer: x509.Name,
    serial: int,
    not_before: datetime,
    not_after: datetime,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
) -> x509.CertificateBuilder:
    # In one go: each step of the builder copies what there is and checks it anew, which the lint does anyway.
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=public,
        serial_number=serial,
        not_valid_before=_naive(not_before),
        not_valid_after=_naive(not_after),
        extensions=[x509.Extension(value.oid, critical, value) for value, critical in extensions],
    )


def _naive(moment: datetime) -> datetime:
    # The library holds moments of the builder in UTC without saying so.
    return moment.astimezone(UTC).replace(tzinfo=None)
