"""Certificate signing requests (PKCS #10) from workloads and secondary clusters, read with distrust.

Decides whether a request is well formed and signed by the key it asks for; never whether its wishes are
granted. The subject and every extension but the subject alternative names are read past: names and rights
come from the object and the policy, so a request cannot smuggle them in. Parsing itself is the library's.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509

from meshca.errors import InvalidError
from meshca.pki import pem as pem_text
from meshca.pki.certificates import by_oid, pick
from meshca.pki.garbage import GARBAGE
from meshca.pki.keys import LEAF_KEYS, KeyPolicy, KeySpec, PublicKey, known_key
from meshca.pki.signatures import check_algorithm

if TYPE_CHECKING:
    from meshca.pki.names import IPAddress

LIMIT_BYTES: Final = 16 * 1024
_NAMES_LIMIT: Final = 100


@dataclass(frozen=True, slots=True)
class CertificateSigningRequest:
    """What a request asks for, its signature verified; every name in it is still only a wish."""

    public_key: PublicKey
    key_spec: KeySpec
    uris: tuple[str, ...]
    dns_names: tuple[str, ...]
    ip_addresses: tuple[IPAddress, ...]
    wants_ca: bool


def parse(
    pem: str | bytes, *, limit_bytes: int = LIMIT_BYTES, keys: KeyPolicy = LEAF_KEYS
) -> CertificateSigningRequest:
    """Read one PEM request from an untrusted user and verify that its own key signed it (RFC 2986).

    ``InvalidError`` for a text over ``limit_bytes``, anything but one request, a key outside ``keys``, a
    weak or mismatched signature algorithm, a broken signature, an e-mail address or any name that is
    neither URI, DNS nor IP address.
    """
    try:
        der = pem_text.split_one(pem, limit_bytes=limit_bytes, label=pem_text.CERTIFICATE_REQUEST)
        return _read(x509.load_der_x509_csr(der), keys)
    except InvalidError as error:
        raise InvalidError(f"certificate request: {error.message}") from None
    except GARBAGE:
        # What the parser says may quote bytes of the input, so it stays out.
        raise InvalidError("certificate request: it cannot be decoded as PKCS #10") from None


def _read(request: x509.CertificateSigningRequest, keys: KeyPolicy) -> CertificateSigningRequest:
    public = known_key(request.public_key())
    spec = keys.check(public)
    check_algorithm(request.signature_algorithm_oid, public)
    if not request.is_signature_valid:
        raise InvalidError("its signature does not verify: it was not made by the key it asks for")
    extensions = by_oid(request.extensions)
    names = _alternative_names(pick(extensions, x509.SubjectAlternativeName))
    basic = pick(extensions, x509.BasicConstraints)
    return CertificateSigningRequest(
        public_key=public,
        key_spec=spec,
        uris=tuple(name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)),
        dns_names=tuple(name.value for name in names if isinstance(name, x509.DNSName)),
        ip_addresses=tuple(_address(name) for name in names if isinstance(name, x509.IPAddress)),
        wants_ca=basic is not None and basic.value.ca,
    )


def _alternative_names(
    found: x509.Extension[x509.SubjectAlternativeName] | None,
) -> list[x509.GeneralName]:
    names = list(found.value) if found else []
    if len(names) > _NAMES_LIMIT:
        raise InvalidError(f"{len(names)} alternative names, more than {_NAMES_LIMIT}")
    for name in names:
        if isinstance(name, x509.RFC822Name):
            raise InvalidError("e-mail addresses are not allowed as alternative names")
        if not isinstance(name, x509.UniformResourceIdentifier | x509.DNSName | x509.IPAddress):
            raise InvalidError(
                f"alternative names of kind {type(name).__name__} are not allowed;"
                " only URI, DNS and IP address"
            )
    return names


def _address(name: x509.IPAddress) -> IPAddress:
    if isinstance(name.value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        raise InvalidError("an alternative name is an IP network where an address belongs")
    return name.value
