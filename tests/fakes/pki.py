"""Keys that are made once, and authorities for tests that need certificates and not their details."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ed25519
from cryptography.x509.oid import NameOID

from meshca.pki import issuance, keys, pem
from meshca.pki.identity import SPIFFEID, PathTemplate, TrustDomain
from meshca.pki.keys import KeySpec, PrivateKey
from meshca.pki.profile import RootProfile, SignerProfile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.types import (
        CertificateIssuerPrivateKeyTypes,
        CertificatePublicKeyTypes,
    )

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
TRUST_DOMAIN = TrustDomain.parse("example.org")
TEMPLATE = PathTemplate.parse("/ns/{namespace}/sa/{serviceAccount}")
SPIFFE_ID = TEMPLATE.render(TRUST_DOMAIN, namespace="shop", service_account="web", cluster_name="default")

CA_SPECS = ("ECDSA 224", "ECDSA 256", "ECDSA 384", "ECDSA 521", "RSA 2048", "RSA 3072", "Ed25519")
LEAF_SPECS = ("ECDSA 256", "ECDSA 384", "ECDSA 521", "RSA 2048", "Ed25519")


def spec(text: str) -> KeySpec:
    """Read ``ECDSA 256``."""
    algorithm, _, size = text.partition(" ")
    return KeySpec.of(algorithm, int(size) if size else None)


@cache
def key(text: str = "ECDSA 256", name: str = "") -> PrivateKey:
    """Return the one key of this kind and name in this process: RSA keys take long to make."""
    del name
    return keys.generate(spec(text))


@cache
def dsa_key() -> dsa.DSAPrivateKey:
    """Return a key of a kind that is never allowed; it takes longest of all to make."""
    return dsa.generate_private_key(2048)


@dataclass(frozen=True)
class Authority:
    """A root and a signer under it, with their keys."""

    root: x509.Certificate
    root_key: PrivateKey
    signer: x509.Certificate
    signer_key: PrivateKey

    def leaf(
        self,
        public: keys.PublicKey | None = None,
        *,
        spiffe_id: SPIFFEID = SPIFFE_ID,
        ttl: timedelta = 72 * HOUR,
        now: datetime = NOW,
    ) -> x509.Certificate:
        """Issue a leaf."""
        return issuance.leaf_certificate(
            public or key("ECDSA 256", "leaf").public_key(),
            issuer_cert=self.signer,
            issuer_key=self.signer_key,
            spiffe_id=spiffe_id,
            ttl=ttl,
            now=now,
        )


def make_root(
    root_key: PrivateKey,
    *,
    ttl: timedelta = 3650 * DAY,
    now: datetime = NOW,
    trust_domain: TrustDomain = TRUST_DOMAIN,
) -> x509.Certificate:
    """Make a self-signed root."""
    return issuance.self_signed_root(
        root_key, trust_domain=trust_domain, configuration="default", profile=RootProfile(ttl), now=now
    )


def make_signer(
    public: keys.PublicKey,
    root: x509.Certificate,
    root_key: PrivateKey,
    *,
    ttl: timedelta = 365 * DAY,
    now: datetime = NOW,
) -> x509.Certificate:
    """Make a signer under a root."""
    return issuance.signer_certificate(
        public,
        issuer_cert=root,
        issuer_key=root_key,
        trust_domain=TRUST_DOMAIN,
        configuration="default",
        cluster_name="default",
        profile=SignerProfile(ttl),
        now=now,
    )


@cache
def authority(text: str = "ECDSA 256", name: str = "") -> Authority:
    """Return the one authority of this kind of key and name in this process."""
    root_key, signer_key = key(text, f"root{name}"), key(text, f"signer{name}")
    root = make_root(root_key)
    return Authority(root, root_key, make_signer(signer_key.public_key(), root, root_key), signer_key)


Replaced = Mapping[type[x509.ExtensionType], tuple[x509.ExtensionType, bool] | None]
ANY_CA_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def craft(
    public: CertificatePublicKeyTypes,
    signer: CertificateIssuerPrivateKeyTypes,
    extensions: Replaced,
    *,
    subject: str = "",
    issuer: x509.Name | None = None,
    not_before: datetime = NOW - HOUR,
    not_after: datetime = NOW + DAY,
    serial: int = 2**127 + 1,
    algorithm: hashes.SHA224 | hashes.SHA256 | None = None,
) -> x509.Certificate:
    """Make any certificate at all, past every check of ours; an extension that is None is left out."""
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else [])
    builder = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(own if issuer is None else issuer)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    for entry in extensions.values():
        if entry:
            builder = builder.add_extension(*entry)
    return builder.sign(signer, algorithm or hash_of(signer))


def imported_root(
    private: CertificateIssuerPrivateKeyTypes,
    *,
    path_length: int | None = None,
    uris: tuple[str, ...] = (TRUST_DOMAIN.uri,),
    replace: Replaced | None = None,
    subject: str = "somebody's root",
    issuer: x509.Name | None = None,
    not_before: datetime = NOW - HOUR,
    not_after: datetime = NOW + 3650 * DAY,
    algorithm: hashes.SHA224 | hashes.SHA256 | None = None,
) -> x509.Certificate:
    """Make a root as a user might bring it along."""
    public = private.public_key()
    extensions: dict[type[x509.ExtensionType], tuple[x509.ExtensionType, bool] | None] = {
        x509.BasicConstraints: (x509.BasicConstraints(ca=True, path_length=path_length), True),
        x509.KeyUsage: (ANY_CA_USAGE, True),
        x509.SubjectKeyIdentifier: (x509.SubjectKeyIdentifier.from_public_key(public), False),
    }
    if uris:
        extensions[x509.SubjectAlternativeName] = (
            x509.SubjectAlternativeName([uri(text) for text in uris]),
            False,
        )
    return craft(
        public,
        private,
        {**extensions, **(replace or {})},
        subject=subject,
        issuer=issuer,
        not_before=not_before,
        not_after=not_after,
        algorithm=algorithm,
    )


def hash_of(private: CertificateIssuerPrivateKeyTypes) -> hashes.SHA256 | None:
    """Return the hash a hand-made certificate is signed with."""
    return None if isinstance(private, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def request(
    private: PrivateKey | None = None,
    *names: x509.GeneralName,
    subject: Iterable[x509.NameAttribute[str]] = (),
    extensions: Iterable[x509.ExtensionType] = (),
) -> str:
    """Write a PEM certificate signing request."""
    private = private or key("ECDSA 256", "leaf")
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(list(subject)))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    for value in extensions:
        builder = builder.add_extension(value, critical=False)
    signed = builder.sign(private, hash_of(private))
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def uri(text: str) -> x509.UniformResourceIdentifier:
    """Write a URI name."""
    return x509.UniformResourceIdentifier(text)


def rfc8410_key(kind: int, raw: bytes) -> bytes:
    """Return a PKCS #8 key of RFC 8410 as PEM, whatever its length; kind 110 is X25519, 112 Ed25519."""
    inner = bytes([4, len(raw)]) + raw
    body = bytes([2, 1, 0, 0x30, 5, 6, 3, 0x2B, 0x65, kind, 4, len(inner)]) + inner
    return pem.encode(bytes([0x30, len(body)]) + body, label="PRIVATE KEY").encode()
