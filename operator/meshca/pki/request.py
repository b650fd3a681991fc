"""Making a certificate signing request for a signer's key, to be sent to another cluster.

Decides what it asks for: a name and the trust domain's URI, nothing else. Whoever signs decides the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from meshca.pki.keys import PrivateKey, check_ca_key
from meshca.pki.signatures import hash_for

if TYPE_CHECKING:
    from meshca.pki.identity import TrustDomain


def signer_request(key: PrivateKey, *, trust_domain: TrustDomain, name: str) -> str:
    """Return a PKCS #10 request (PEM) for a CA key; ``name`` is for people, at most 64 characters are used.

    ``InvalidError`` for a key that no CA may have. Slow for RSA keys.
    """
    public = key.public_key()
    check_ca_key(public)
    wanted = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(trust_domain.uri)])
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])]))
        .add_extension(wanted, critical=False)
        .sign(key, hash_for(public))
    )
    return request.public_bytes(serialization.Encoding.PEM).decode()
