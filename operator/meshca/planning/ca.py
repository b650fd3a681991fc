"""What the planner of a CAConfiguration sees and may do: Snapshot, steps, Plan.

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

    from meshca.pki.certificates import Facts
    from meshca.pki.identity import TrustDomain
    from meshca.planning.authority import Admission, Authority, Unavailable
    from meshca.planning.desired import Desired
    from meshca.planning.views import Meta

JSON = dict[str, Any]


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


@dataclass(frozen=True, slots=True)
class ImportedPair:
    """The user's own root as found in the Secret that the configuration names."""

    fingerprint: str
    uri: str
    problem: str


@dataclass(frozen=True, slots=True)
class Publication:
    """Where the bundle stands: places that hold it, that do not yet, and that refuse it with the reason.

    ``complete`` means that every place was looked at since the start.
    """

    total: int = 0
    current: int = 0
    behind: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Straggler:
    """A live leaf that needs an older root, and why it has not moved ("" = its turn has not come)."""

    name: str
    not_after: datetime
    automatic: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Census:
    """Live leaves that need another root than the active one, as the watch store knows them.

    ``by_root`` counts them by the fingerprint of the root they need; ``unread`` are leaves whose chain
    nobody has looked at yet; ``stragglers`` are up to 10 of them, the first to expire first.
    ``manual_end`` is when the last of those expires that only their holders can renew.
    ``bundles_behind`` counts managed Secrets whose bundle lacks a root, in a rotation that needs it there.
    """

    by_root: Mapping[str, int] = field(default_factory=dict)
    unread: int = 0
    stragglers: tuple[Straggler, ...] = ()
    automatic: int = 0
    manual_end: datetime | None = None
    bundles_behind: int = 0

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


@dataclass(frozen=True, slots=True)
class SettleTrustDomain:
    """Write ``status.trustDomain`` before any key is made."""

    name: str


@dataclass(frozen=True, slots=True)
class AcceptSpec:
    """Keep the present spec as the last good one."""


@dataclass(frozen=True, slots=True)
class MakeRoot:
    """Create the root's Secret: a generated pair, or a copy of the imported one."""

    secret: str
    identity: str
    base: str
    renewal: int
    imported: bool


@dataclass(frozen=True, slots=True)
class RecordRoot:
    """Create the CARoot of a root Secret."""

    secret: KeySecret
    imported: bool


@dataclass(frozen=True, slots=True)
class RaiseLeafTTL:
    """Record on the CARoot that leaves may live this long under it."""

    root: Root
    ttl: timedelta


@dataclass(frozen=True, slots=True)
class MakeSigner:
    """Create a signer Secret under a root whose key is at hand."""

    root: Root
    root_secret: KeySecret


@dataclass(frozen=True, slots=True)
class MarkActive:
    """Record the activation on the CARoot, before it happens."""

    root: Root


@dataclass(frozen=True, slots=True)
class CommitActive:
    """Compare-and-set ``status.activeRoot``: the commit point of an activation."""

    root: Root


@dataclass(frozen=True, slots=True)
class WriteRootStatus:
    """Bring a CARoot's status in line with what Secrets hold."""

    root: Root
    status: JSON


@dataclass(frozen=True, slots=True)
class RemoveSigner:
    """Delete the Secret of a signer that a newer one has replaced."""

    secret: KeySecret


Step = (
    SettleTrustDomain
    | AcceptSpec
    | MakeRoot
    | RecordRoot
    | RaiseLeafTTL
    | MakeSigner
    | MarkActive
    | CommitActive
    | WriteRootStatus
    | RemoveSigner
)


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
    due: datetime | None
