"""How Secrets are read: CA key pairs and managed leaf Secrets, and whether each is sound.

Decides whether certificate and key fit together; returns facts, and a key only to the caller that signs
with it. What is wrong is told in words without any part of the data.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.errors import InvalidError
from meshca.pki import certificates, keys
from meshca.planning.ca import KeySecret
from meshca.planning.leaf import SecretView
from meshca.planning.views import Meta, annotations_of, labels_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshca.pki.keys import PrivateKey

CERTIFICATE = "tls.crt"
KEY = "tls.key"
_LIMIT = 64 * 1024


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
    renewal = notes.get(names.ANNOTATION_RENEWAL, "0")
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
        renewal=int(renewal) if renewal.isdigit() else 0,
    )
    return LoadedSecret(view, labels_of(body).get(names.LABEL_KEY_ROLE, ""), key)


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
    serial = public_key = ""
    consistent = False
    try:
        leaf = certificates.load_all(data_of(body, CERTIFICATE))[0]
        facts = certificates.facts(leaf)
        serial, public_key = facts.serial, facts.public_key_sha256
        data_of(body, names.BUNDLE_KEY)
        consistent = keys.matches(keys.load_trusted(data_of(body, KEY)), leaf)
    except InvalidError:
        consistent = False
    return SecretView(
        uid=meta.uid,
        resource_version=meta.resource_version,
        owner_uid=owner_uid(body),
        serial=serial,
        public_key=public_key,
        consistent=consistent,
    )
