"""What signers of secondaries are granted with at this moment, without any key.

The configuration reconciler puts one together whenever a CA object changes; decisions about
IntermediateCertificateRequests and FederatedClusters read it. Decides how long such a signer may live.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from meshca.pki.profile import MIN_REMAINING

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509

    from meshca.pki.identity import TrustDomain

_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class SigningRoot:
    """The active root of a primary: ``crosses`` are its useful cross-certificates, PEM; times are UTC.

    ``name`` is its CARoot, ``secret`` the Secret with its key, ``bundle`` the fingerprints of the roots that
    peers have to trust.
    """

    configuration: str
    trust_domain: TrustDomain
    name: str
    certificate: x509.Certificate
    fingerprint: str
    not_after: datetime
    secret: str
    provider: str
    crosses: str
    intermediate_ttl: timedelta
    bundle: tuple[str, ...]

    def until(self, wanted: timedelta | None, now: datetime) -> datetime:
        """Return when a signer granted now ends: after ``wanted`` (None = the default), or with the root."""
        return min(now.replace(microsecond=0) + (wanted or self.intermediate_ttl), self.not_after)

    def is_worth_it(self, wanted: timedelta | None, now: datetime) -> bool:
        """Tell whether the root has enough left for a signer."""
        return self.until(wanted, now) - now >= (wanted or self.intermediate_ttl) * MIN_REMAINING

    def effective_ttl(self, wanted: timedelta | None, now: datetime) -> timedelta:
        """Return the life that a signer granted now gets; what a root has left is told in whole hours."""
        full = wanted or self.intermediate_ttl
        left = max(self.not_after - now, timedelta(0))
        return full if left >= full else left // _HOUR * _HOUR

    def next_change(self, wanted: timedelta | None, now: datetime) -> datetime:
        """Return when the effective life becomes shorter by itself; the root's end once there is none."""
        full = wanted or self.intermediate_ttl
        shown = self.effective_ttl(wanted, now)
        return self.not_after - (full if shown == full else shown)
