"""How Secrets are read: CA key pairs and managed leaf Secrets, and whether each is sound.

Decides whether certificate and key fit together; returns facts, and a key only to the caller that signs
with it. What is wrong is told in words without any part of the data.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.errors import InvalidError
from meshca.pki import certificates, chain, keys
from meshca.pki.bundle import Bundle
from meshca.planning.ca import KeySecret
from meshca.planning.leaf import SecretView
from meshca.planning.views import Meta, annotations_of, labels_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography import x509

    from meshca.pki.keys import PrivateKey

CERTIFICATE = "tls.crt"
KEY = "tls.key"
CROSS = "cross.crt"
CHAIN = "chain.crt"
_LIMIT = 64 * 1024
_RENEWAL_DIGITS = 9


@dataclass(frozen=True, slots=True)
class LoadedSecret:
    """A CA Secret and, when it is usable, its key."""

    view: KeySecret
    role: str
    key: PrivateKey | None

    def __repr__(self) -> str:
        return f"LoadedSecret({self.view.meta.name})"


def data_of(body: Mapping[str, Any], entry: str) -> bytes:
    """Return one entry of a Secret; ``InvalidError`` when it is missing, too large or not base64."""
    data = body.get("data")
    value = data.get(entry) if isinstance(data, dict) else None
    if not isinstance(value, str) or not value:
        raise InvalidError(f"entry {entry!r} is missing")
    if len(value) > _LIMIT:
        raise InvalidError(f"entry {entry!r} is larger than {_LIMIT} bytes")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidError(f"entry {entry!r} is not base64") from None


def encode(text: str | bytes) -> str:
    """Return a Secret's entry for text or bytes."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def load_ca_secret(body: Mapping[str, Any]) -> LoadedSecret:
    """Read a CA Secret of our own; a broken one has its ``problem`` told."""
    meta, notes = Meta.of(body), annotations_of(body)
    certificate = facts = key = None
    problem = ""
    try:
        certificate = certificates.load_one(data_of(body, CERTIFICATE))
        facts = certificates.facts(certificate)
        key = keys.load_trusted(data_of(body, KEY))
        if not keys.matches(key, certificate):
            key, problem = None, "its key does not belong to its certificate"
    except InvalidError as error:
        problem = error.message
    view = KeySecret(
        meta=meta,
        certificate=certificate,
        facts=facts,
        problem=problem,
        identity=meta.name.rsplit("-", 1)[-1],
        base=notes.get(names.ANNOTATION_IDENTITY, ""),
        renewal=renewal_of(notes),
        provider=notes.get(names.ANNOTATION_PROVIDER, ""),
        cross=_crosses(body, certificate),
        chain=_text(body, CHAIN),
        touched=notes.get(names.ANNOTATION_PUBLISHED_AT, ""),
    )
    return LoadedSecret(view, labels_of(body).get(names.LABEL_KEY_ROLE, ""), key)


def _crosses(body: Mapping[str, Any], certificate: x509.Certificate | None) -> tuple[x509.Certificate, ...]:
    """Return the cross-certificates beside a root: of its name and key, and not by itself."""
    text = _text(body, CROSS)
    if certificate is None or not text:
        return ()
    try:
        found = certificates.load_all(text)
    except InvalidError:
        # Made anew, because what cannot be read serves nobody.
        return ()
    itself = {certificates.subject_key_id_of(certificate), b""}
    return tuple(
        item
        for item in found
        if item.subject == certificate.subject
        # By key, because imported roots may share a name.
        and certificates.authority_key_id_of(item) not in itself
        and item.public_key() == certificate.public_key()
    )


def _text(body: Mapping[str, Any], entry: str) -> str:
    try:
        return data_of(body, entry).decode("ascii")
    except (InvalidError, UnicodeDecodeError):
        return ""


def renewal_of(notes: Mapping[str, str]) -> int:
    """Return the renewal number among the annotations of a root's objects; 0 for anything else."""
    text = notes.get(names.ANNOTATION_RENEWAL, "")
    return int(text) if text.isdecimal() and len(text) <= _RENEWAL_DIGITS else 0


def owner_uid(body: Mapping[str, Any]) -> str:
    """Return the uid of the LeafCertificateRequest that owns an object, or ""."""
    metadata = body.get("metadata")
    owners = metadata.get("ownerReferences") if isinstance(metadata, dict) else None
    for owner in owners if isinstance(owners, list) else ():
        if not isinstance(owner, dict) or owner.get("kind") != names.LEAF.kind:
            continue
        if str(owner.get("apiVersion", "")).startswith(f"{names.GROUP}/"):
            return str(owner.get("uid", ""))
    return ""


def secret_view(body: Mapping[str, Any]) -> SecretView:
    """Project a managed Secret; anybody in its namespace may have edited it."""
    meta = Meta.of(body)
    serial = digest = held = ""
    consistent = False
    try:
        text = data_of(body, CERTIFICATE)
        leaf, *rest = certificates.load_all(text)
        serial, digest = certificates.facts(leaf).serial, hashlib.sha256(text).hexdigest()
        bundle = data_of(body, names.BUNDLE_KEY)
        held = hashlib.sha256(bundle).hexdigest()
        # One that an earlier release wrote says nothing of its bundle.
        written = annotations_of(body).get(names.ANNOTATION_BUNDLE_DIGEST, held)
        sound = written == held and keys.matches(keys.load_trusted(data_of(body, KEY)), leaf)
        consistent = sound and _anchored(certificates.to_pem(*rest), bundle)
    except InvalidError:
        consistent = False
    return SecretView(
        uid=meta.uid,
        resource_version=meta.resource_version,
        owner_uid=owner_uid(body),
        serial=serial,
        chain_digest=digest,
        consistent=consistent,
        bundle=held,
    )


@lru_cache(maxsize=64)
def _anchored(issuers: str, bundle: bytes) -> bool:
    """Tell whether the certificates above a leaf lead to a root of the bundle beside them (PEM both).

    Nearly all Secrets have both in common, so the answer is kept.
    """
    try:
        signer, *others = certificates.load_all(issuers)
        chain.verify(signer, others, Bundle.parse(bundle).roots, at=signer.not_valid_after_utc)
    except InvalidError:
        return False
    return True
