"""What leaves of one configuration are issued with at this moment, without any key.

The configuration reconciler puts one together whenever a CA object changes; leaf decisions read it.
Decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509

    from meshca.pki.identity import TrustDomain
    from meshca.planning.desired import Naming

POLICY_SETTLES: Final = timedelta(seconds=30)
"""How long after it came into force the admission policy is sure to have been seen by every API server."""
ANNOUNCED_AFTER: Final = POLICY_SETTLES + timedelta(seconds=2)
"""When a CA calls itself Ready: requests are dated by the API server, whose clock may be a little slow."""


@dataclass(frozen=True, slots=True)
class Authority:
    """The active signer of a configuration and the rules it signs by; ``chain`` and ``bundle`` are PEM."""

    configuration: str
    trust_domain: TrustDomain
    cluster_name: str
    naming: Naming
    leaf_ttl: timedelta
    leaf_max_ttl: timedelta
    root: str
    signer: x509.Certificate
    signer_key_id: str
    signer_secret: str
    signer_not_after: datetime
    chain: str
    bundle: str
    bundle_digest: str
    trusted: tuple[x509.Certificate, ...]
    generation: int = 0
    bundle_in_secrets: bool = False
    """Whether managed Secrets have to hold this very bundle before a rotation goes on."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Why a configuration issues nothing now: a reason constant and a sentence that says what to do."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether the shipped admission policy guards requests, and since when without interruption (UTC)."""

    in_force: bool
    since: datetime | None
    message: str = ""
