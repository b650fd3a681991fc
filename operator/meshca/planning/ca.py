"""What the planner of a CAConfiguration sees and answers: Snapshot and Plan.

Holds certificates and facts, never a key: whether a Secret's key fits its certificate was found out
when it was read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from cryptography import x509

    from meshca.pki.bundle import Bundle
    from meshca.pki.certificates import Facts
    from meshca.pki.identity import TrustDomain
    from meshca.planning.authority import Admission, Authority, Unavailable
    from meshca.planning.desired import Desired
    from meshca.planning.joining import Join
    from meshca.planning.primary import PrimaryView, PrimaryWish
    from meshca.planning.requested import RequestedKey
    from meshca.planning.secondaries import Secondary
    from meshca.planning.signingroot import SigningRoot
    from meshca.planning.steps import Step
    from meshca.planning.views import Meta

JSON = dict[str, Any]
PRUNED = "Pruned"
BUILTIN = "Builtin"
MIRRORED = "Mirrored"


@dataclass(frozen=True, slots=True)
class KeySecret:
    """A CA Secret as read from the API server; ``problem`` says why it cannot be used ("" = it can).

    ``identity`` is the 10 hex digits of the desired identity with, ``base`` without its renewal number
    (roots only).
    """

    meta: Meta
    certificate: x509.Certificate | None
    facts: Facts | None
    problem: str
    identity: str = ""
    base: str = ""
    renewal: int = 0
    provider: str = ""
    cross: tuple[x509.Certificate, ...] = ()
    """Of a root: its cross-certificates, by whichever older root."""
    chain: str = ""
    """Of a signer: what is to follow a leaf, PEM."""
    touched: str = ""

    @property
    def usable(self) -> bool:
        """Return whether certificate and key were read and fit together."""
        return not self.problem


@dataclass(frozen=True, slots=True)
class Root:
    """A CARoot with what its annotations record; times are UTC."""

    meta: Meta
    certificate: x509.Certificate
    facts: Facts
    pem: str
    source: str
    key_secret: str
    base: str
    renewal: int
    activated_at: datetime | None
    rotated_out_at: datetime | None
    prunable_after: datetime | None
    largest_leaf_ttl: timedelta | None
    status: JSON = field(default_factory=dict)
    published_at: datetime | None = None
    trigger: str = ""
    provider: str = ""
    prune_now: str = ""
    finalizers: tuple[str, ...] = ()
    intermediates: Mapping[str, datetime] | None = field(default_factory=dict)
    """When the last signer ends that was granted under it, by secondary; None when the record is damaged."""
    cross: tuple[x509.Certificate, ...] = ()
    """Of a mirrored root, which has no Secret: its cross-certificates, by whichever older root."""

    @property
    def mirrored(self) -> bool:
        """Return whether another cluster has the key."""
        return self.source == MIRRORED

    @property
    def pruned(self) -> bool:
        """Return whether it has been decided that this root is never used again."""
        return self.status.get("state") == PRUNED

    @property
    def retired(self) -> bool:
        """Return whether leaves were issued under it, and another root took its place."""
        return self.activated_at is not None and self.rotated_out_at is not None

    @property
    def reclaimed(self) -> bool:
        """Return whether a retired root was taken back into use."""
        if self.rotated_out_at is None or self.published_at is None:
            return False
        return self.published_at > self.rotated_out_at


@dataclass(frozen=True, slots=True)
class ImportedPair:
    """The user's own root as found in the Secret that the configuration names."""

    fingerprint: str
    uri: str
    problem: str
    public_key: str = ""
    key_id: str = ""


@dataclass(frozen=True, slots=True)
class Publication:
    """Where the bundle stands: places that hold it, that do not yet, and that refuse it with the reason.

    ``complete`` means that every place was looked at since the start, ``digest`` which bundle this is about,
    ``read_back`` that every place was listed consistently and holds it.
    """

    total: int = 0
    current: int = 0
    behind: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    complete: bool = False
    digest: str = ""
    read_back: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """Who needs a root, by a consistent list of all requests; ``next_end`` is when the first of them ends."""

    root: str
    blockers: tuple[str, ...] = ()
    count: int = 0
    next_end: datetime | None = None


@dataclass(frozen=True, slots=True)
class Straggler:
    """A live leaf that needs an older root, and why it has not moved ("" = its turn has not come)."""

    name: str
    not_after: datetime
    automatic: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Misnamed:
    """Live leaves with another SPIFFE ID than the configuration gives now.

    ``names`` are up to 10 of them (namespace/name), ``first_end`` is when the first of all expires (UTC).
    """

    count: int = 0
    names: tuple[str, ...] = ()
    first_end: datetime | None = None


@dataclass(frozen=True, slots=True)
class Census:
    """Live leaves that need another root than the active one, as the watch store knows them.

    ``by_root`` counts them by the fingerprint of the root they need, ``ends`` says when the last of each
    expires; ``unread`` are leaves whose chain nobody has looked at yet; ``stragglers`` are up to 10 of them,
    the first to expire first.
    ``manual_end`` is when the last of those expires that only their holders can renew.
    ``bundles_behind`` counts managed Secrets whose bundle lacks a root, in a rotation that needs it there.
    ``misnamed`` is about all live leaves; None while nobody knows.
    """

    by_root: Mapping[str, int] = field(default_factory=dict)
    unread: int = 0
    stragglers: tuple[Straggler, ...] = ()
    automatic: int = 0
    manual_end: datetime | None = None
    bundles_behind: int = 0
    misnamed: Misnamed | None = None
    ends: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """Return how many have not moved."""
        return sum(self.by_root.values())


@dataclass(frozen=True, slots=True)
class CASnapshot:
    """Everything one decision about a CAConfiguration depends on, read consistently."""

    now: datetime
    meta: Meta
    status: JSON
    wish: Desired | None
    wish_problem: str
    accepted: Desired | None
    accepted_is_current: bool
    roots: tuple[Root, ...]
    root_secrets: tuple[KeySecret, ...]
    signer_secrets: tuple[KeySecret, ...]
    imported: ImportedPair | None
    admission: Admission
    trust_domain_owner: str
    bundle_owner: str
    publication: Publication
    provider_problem: str = ""
    unreadable_roots: tuple[str, ...] = ()
    clocks_differ: bool = False
    census: Census = field(default_factory=Census)
    evidence: tuple[Evidence, ...] = ()
    cross_signers: frozenset[str] = frozenset({BUILTIN})
    """Providers whose roots can sign another root."""
    cross_problems: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Why a cross-certificate could not be made, by the fingerprints of issuer and new root."""
    delete_keys: bool = False
    held: bool = False
    """Whether our finalizer is on the configuration."""
    secondaries: tuple[Secondary, ...] = ()
    """The clusters that are registered for this configuration."""
    requested: tuple[RequestedKey, ...] = ()
    """Of a secondary: the keys for which the primary has yet to make a certificate."""
    join: Join | None = None
    join_problem: str = ""
    unkept_token: str | None = None
    """Why the renewed token could not be written, "" where that may pass; None: it was not tried."""
    view: PrimaryView | None = None
    """What the link to the primary knows; None while it has told nothing since the start."""
    accept_sequence: str = ""


@dataclass(frozen=True, slots=True)
class CAPlan:
    """The next step, or none; the wish it serves; the wanted status; what leaves are issued with.

    ``due`` is when to look again.
    """

    step: Step | None
    desired: Desired | None
    trust_domain: TrustDomain
    status: JSON
    authority: Authority | Unavailable
    bundle: Bundle
    publishes: bool
    """Whether the bundle is this configuration's to publish."""
    due: datetime | None
    signing_root: SigningRoot | None = None
    """What signers of secondaries are granted with."""
    primary: PrimaryWish | None = None
    """What the link of a secondary is to do."""
