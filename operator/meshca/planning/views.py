"""Slim, frozen projections of the objects that meshca watches.

Decides which few fields are kept in memory; never whether they are right. Bodies come from the API
server, where strangers may have written them: a field of the wrong type is read as absent, nothing
raises. The leaf kind is projected by hand instead of through its model, because it is the hot path:
ten thousand of these are held and every watch event makes one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from meshca.api.v1alpha1 import scalars

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

JSON = dict[str, Any]


def _text(source: Mapping[str, Any], field: str) -> str:
    value = source.get(field)
    return value if isinstance(value, str) else ""


def _mapping(source: Mapping[str, Any], field: str) -> dict[str, Any]:
    value = source.get(field)
    return value if isinstance(value, dict) else {}


def _texts(source: Mapping[str, Any], field: str) -> tuple[str, ...]:
    value = source.get(field)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def read_time(text: str) -> datetime | None:
    """Read an RFC 3339 time as UTC; None for anything else."""
    try:
        return scalars.parse_time(text)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Meta:
    """The metadata that preconditions and decisions need."""

    name: str
    namespace: str
    uid: str
    resource_version: str
    generation: int
    created: datetime | None
    deleting: bool

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Meta:
        """Project ``metadata`` of any object."""
        meta = _mapping(body, "metadata")
        generation = meta.get("generation")
        return cls(
            name=_text(meta, "name"),
            namespace=_text(meta, "namespace"),
            uid=_text(meta, "uid"),
            resource_version=_text(meta, "resourceVersion"),
            generation=generation if isinstance(generation, int) else 0,
            created=read_time(_text(meta, "creationTimestamp")),
            deleting=bool(meta.get("deletionTimestamp")),
        )


def newer(resource_version: str, known: str) -> bool:
    """Tell whether a version is later than a known one; versions count up (KEP-5504)."""
    try:
        return int(resource_version) > int(known)
    except ValueError:
        return resource_version != known


def labels_of(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels of an object, string values only."""
    found = _mapping(_mapping(body, "metadata"), "labels")
    return {key: value for key, value in found.items() if isinstance(value, str)}


def annotations_of(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the annotations of an object, string values only."""
    found = _mapping(_mapping(body, "metadata"), "annotations")
    return {key: value for key, value in found.items() if isinstance(value, str)}


def condition(body: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return one condition of an object's status, or an empty mapping."""
    found = _mapping(body, "status").get("conditions")
    for entry in found if isinstance(found, list) else ():
        if isinstance(entry, dict) and entry.get("type") == kind:
            return entry
    return {}


def chain_digest(chain: str) -> str:
    """Return the key under which facts about a certificate chain (PEM text) are remembered."""
    return hashlib.sha256(chain.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class LeafSpec:
    """What a LeafCertificateRequest asks for; every field comes from an untrusted user."""

    configuration: str
    request: str
    secret_name: str
    service_account: str
    requester: str
    ttl: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    key_algorithm: str
    key_size: int | None
    automatic: bool

    @property
    def managed(self) -> bool:
        """Return whether the operator makes the key."""
        return bool(self.secret_name)


@dataclass(frozen=True, slots=True)
class IssuedFacts:
    """What a certificate chain says once its signatures were checked; times are UTC."""

    digest: str
    serial: str
    spiffe_id: str
    public_key: str
    signer: str
    root: str
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class LeafView:
    """One LeafCertificateRequest as it is held in memory.

    ``chain`` is the PEM text of ``status.certificateChain`` until its facts are known, then empty.
    ``worthless`` means that it was looked at and proved nothing.
    """

    meta: Meta
    spec: LeafSpec
    state: str
    reason: str
    ready: str
    message: str
    reason_since: datetime | None
    observed_generation: int
    renew_at: datetime | None
    chain: str
    chain_digest: str
    issued: IssuedFacts | None = None
    worthless: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """Return (namespace, name)."""
        return (self.meta.namespace, self.meta.name)

    @property
    def lives(self) -> bool:
        """Tell whether there is a certificate, as far as anybody has looked."""
        return self.issued is not None or bool(self.chain)

    def with_issued(self, facts: IssuedFacts) -> LeafView:
        """Return the view with verified facts in the place of the chain's text."""
        return replace(self, issued=facts, chain="", worthless=False)


def _leaf_spec(spec: Mapping[str, Any]) -> LeafSpec:
    key = _mapping(spec, "privateKey")
    size = key.get("size")
    secret_name = _text(spec, "secretName")
    return LeafSpec(
        configuration=_text(spec, "caConfigurationName") or "default",
        request=_text(spec, "request"),
        secret_name=secret_name,
        service_account=_text(spec, "serviceAccountName"),
        requester=_text(spec, "requester"),
        ttl=_text(spec, "ttl"),
        dns_names=_texts(spec, "dnsNames"),
        ip_addresses=_texts(spec, "ipAddresses"),
        key_algorithm=_text(key, "algorithm"),
        key_size=size if isinstance(size, int) else None,
        automatic=bool(secret_name) or _text(spec, "renewal") == "Automatic",
    )


def leaf_view(body: Mapping[str, Any], known: LeafView | None = None) -> LeafView:
    """Project a LeafCertificateRequest; facts already verified for the same chain are carried over."""
    meta, status = Meta.of(body), _mapping(body, "status")
    chain = _text(status, "certificateChain")
    digest = chain_digest(chain) if chain else ""
    ready = condition(body, "Ready")
    observed = status.get("observedGeneration")
    same = known is not None and digest != "" and known.chain_digest == digest
    # A spec cannot change within a generation.
    kept = known is not None and known.meta.uid == meta.uid and known.meta.generation == meta.generation > 0
    issued = known.issued if known and same else None
    return LeafView(
        meta=meta,
        spec=known.spec if known and kept else _leaf_spec(_mapping(body, "spec")),
        state=_text(status, "state"),
        reason=_text(ready, "reason"),
        ready=_text(ready, "status"),
        message=_text(ready, "message"),
        reason_since=read_time(_text(ready, "lastTransitionTime")),
        observed_generation=observed if isinstance(observed, int) else 0,
        renew_at=read_time(_text(status, "renewAt")),
        chain="" if issued else chain,
        chain_digest=digest,
        issued=issued,
        worthless=known is not None and same and known.worthless,
    )
