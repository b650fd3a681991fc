"""What a plan for a CAConfiguration can ask to be done: one step at a time, each a single write or read.

Decides nothing. A step carries what was observed of the objects it is about, so that whoever carries it out
can make it conditional on exactly that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from cryptography import x509

    from meshca.planning.ca import KeySecret, Root
    from meshca.planning.joining import Join
    from meshca.planning.primary import FreshToken
    from meshca.planning.requested import RequestedKey

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SettleTrustDomain:
    """Write ``status.trustDomain`` before any key is made."""

    name: str


@dataclass(frozen=True, slots=True)
class AcceptSpec:
    """Keep the present spec as the last good one."""


@dataclass(frozen=True, slots=True)
class MakeRoot:
    """Create the root's Secret: a generated pair, or a copy of the imported one.

    ``cross`` are the cross-certificates that are known of a root whose Secret was lost, PEM.
    """

    secret: str
    identity: str
    base: str
    renewal: int
    imported: bool
    cross: str = ""


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
    """Create a signer Secret under a root whose key is at hand; ``chain`` is what follows the signer, PEM."""

    root: Root
    root_secret: KeySecret
    chain: str = ""


@dataclass(frozen=True, slots=True)
class CrossSign:
    """Have an older root sign the new one, and keep the certificate in the new root's Secret."""

    root: Root
    secret: KeySecret
    issuer: Root
    issuer_secret: KeySecret


@dataclass(frozen=True, slots=True)
class KeepCross:
    """Keep only these cross-certificates (PEM) in a root's Secret: the others are of no use any more."""

    secret: KeySecret
    pem: str


@dataclass(frozen=True, slots=True)
class WriteChain:
    """Bring what a signer's Secret says of its chain up to date; PEM."""

    secret: KeySecret
    chain: str


@dataclass(frozen=True, slots=True)
class RecordPhase:
    """Write the status now, because the rotation enters a phase or ends."""

    phase: str


@dataclass(frozen=True, slots=True)
class MarkPublished:
    """Record on the CARoot that the bundle holds it from now on; takes a retired root back into use."""

    root: Root


@dataclass(frozen=True, slots=True)
class TouchSecret:
    """Change a Secret, so that a removal decided before is refused."""

    secret: KeySecret
    mark: str


@dataclass(frozen=True, slots=True)
class ReadBack:
    """List the published bundles consistently and compare them."""


@dataclass(frozen=True, slots=True)
class MarkActive:
    """Record the activation on the CARoot, before it happens."""

    root: Root


@dataclass(frozen=True, slots=True)
class MarkRotatedOut:
    """Record that another root takes this one's place, and until when it is kept at least (UTC)."""

    root: Root
    prunable_after: datetime


@dataclass(frozen=True, slots=True)
class MarkInForce:
    """Take back the record that the active root was rotated out."""

    root: Root


@dataclass(frozen=True, slots=True)
class CommitActive:
    """Compare-and-set ``status.activeRoot``: the commit point of an activation.

    ``signer`` is what signs from then on, ``older`` are the roots under which its leaves must verify, too.
    """

    root: Root
    signer: KeySecret | None = None
    chain: str = ""
    older: tuple[Root, ...] = ()


@dataclass(frozen=True, slots=True)
class WriteRootStatus:
    """Bring a CARoot's status in line with what Secrets hold."""

    root: Root
    status: JSON


@dataclass(frozen=True, slots=True)
class RemoveSigner:
    """Delete the Secret of a signer that a newer one has replaced, or whose root is gone."""

    secret: KeySecret


@dataclass(frozen=True, slots=True)
class GatherEvidence:
    """List all requests consistently and find out who needs a root."""

    root: Root


@dataclass(frozen=True, slots=True)
class MarkPruned:
    """Compare-and-set the CARoot's state: the commit point of a prune."""

    root: Root
    status: JSON
    why: str


@dataclass(frozen=True, slots=True)
class RemoveRootSecret:
    """Delete the key of a pruned root."""

    secret: KeySecret


@dataclass(frozen=True, slots=True)
class DeleteRoot:
    """Delete the CARoot of a pruned root; its finalizer keeps it a moment longer."""

    root: Root


@dataclass(frozen=True, slots=True)
class ReleaseRoot:
    """Take the finalizer off a pruned root that is being deleted."""

    root: Root


@dataclass(frozen=True, slots=True)
class HoldConfiguration:
    """Put our finalizer on the configuration, or take it off: its keys go with it only while it is there."""

    held: bool


@dataclass(frozen=True, slots=True)
class RecordMirror:
    """Create the CARoot of a root of the primary; from then on the bundle holds it."""

    certificate: x509.Certificate
    fingerprint: str


@dataclass(frozen=True, slots=True)
class RequestSigner:
    """Make a signer's key and keep it with a request for the primary."""


@dataclass(frozen=True, slots=True)
class AdoptSigner:
    """Keep the certificate that the primary made beside the key: from then on it is a signer."""

    requested: RequestedKey
    root: Root
    certificate: x509.Certificate
    chain: str


@dataclass(frozen=True, slots=True)
class DropRequest:
    """Delete a signer's key whose request came to nothing."""

    requested: RequestedKey
    why: str
    refused: bool = False


@dataclass(frozen=True, slots=True)
class RenewJoin:
    """Write a fresh token into the join Secret, unless somebody has changed that meanwhile."""

    join: Join
    token: FreshToken


Step = (
    SettleTrustDomain
    | AcceptSpec
    | MakeRoot
    | RecordRoot
    | RaiseLeafTTL
    | MakeSigner
    | CrossSign
    | KeepCross
    | WriteChain
    | RecordPhase
    | MarkPublished
    | TouchSecret
    | ReadBack
    | MarkActive
    | MarkRotatedOut
    | MarkInForce
    | CommitActive
    | WriteRootStatus
    | RemoveSigner
    | GatherEvidence
    | MarkPruned
    | RemoveRootSecret
    | DeleteRoot
    | ReleaseRoot
    | HoldConfiguration
    | RecordMirror
    | RequestSigner
    | AdoptSigner
    | DropRequest
    | RenewJoin
)
SECONDARY = (RecordMirror, RequestSigner, AdoptSigner, DropRequest, RenewJoin)
"""What only a secondary does."""

IRREVERSIBLE = (
    MakeRoot,
    CrossSign,
    KeepCross,
    MarkPublished,
    MarkActive,
    MarkRotatedOut,
    CommitActive,
    RemoveSigner,
    MarkPruned,
    RemoveRootSecret,
    DeleteRoot,
    ReleaseRoot,
    RecordMirror,
)
"""What is not done while our clock and the API server's differ."""
