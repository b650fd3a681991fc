"""Whether what answers is the primary that this cluster belongs to, and may be followed.

Decides by the pinned digest at the first contact, and by uid, sequence and roots from then on; a primary
that is in doubt changes nothing here until a person has confirmed it. Never decides what is taken over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshca.api.v1alpha1.conditions import Reason
from meshca.pki.certificates import uris_of
from meshca.planning.situation import Problem

if TYPE_CHECKING:
    from meshca.pki.identity import TrustDomain
    from meshca.planning.ca import CASnapshot
    from meshca.planning.desired import PrimaryRef
    from meshca.planning.primary import PrimaryFacts


def recorded(snapshot: CASnapshot) -> dict[str, Any]:
    """Return ``status.federation`` as it was read."""
    told = snapshot.status.get("federation")
    return told if isinstance(told, dict) else {}


def doubt(
    snapshot: CASnapshot, facts: PrimaryFacts, ref: PrimaryRef, established: TrustDomain | None
) -> Problem | None:
    """Say why a primary is not followed, or None when it is."""
    wanted = established.name if established is not None else facts.trust_domain
    if facts.trust_domain != wanted:
        return _mismatch(
            f"the primary's trust domain is {facts.trust_domain!r}, this cluster's is {wanted!r}: a trust"
            " domain never changes; join another primary"
        )
    if any(uri != f"spiffe://{wanted}" for uri in _uris(facts)):
        return _mismatch(f"a root of the primary is not of trust domain {wanted!r}")
    mirrored = {root.facts.fingerprint for root in snapshot.roots if root.mirrored and not root.pruned}
    pinned, confirmed = facts.digest == ref.digest, snapshot.accept_sequence == str(facts.sequence)
    if not mirrored:
        return None if pinned else _other_digest(facts, ref)
    return None if confirmed else _continues(snapshot, facts, mirrored, pinned=pinned)


def _continues(
    snapshot: CASnapshot, facts: PrimaryFacts, mirrored: set[str], *, pinned: bool
) -> Problem | None:
    """Say why this primary does not go on where the one that is mirrored here stopped, or None."""
    told = recorded(snapshot)
    uid, sequence = told.get("configurationID"), told.get("sequence")
    listed = {root.fingerprint for root in facts.roots}
    another = bool(uid) and uid != facts.uid
    lost = mirrored - listed if another else set()
    if (lost or not (uid or mirrored & listed)) and not pinned:
        return _mismatch(
            f"the primary was replaced: its bundle {facts.sequence} lacks roots that are mirrored here."
            " Nothing of this cluster is dropped; if that is meant, apply the new primary's invitation with"
            " its bundleDigest, or annotate this CAConfiguration with meshca.dev/accept-sequence:"
            f' "{facts.sequence}"'
        )
    if isinstance(sequence, int) and facts.sequence < sequence and not (another and pinned):
        return Problem(
            Reason.PRIMARY_WENT_BACK,
            f"the primary shows bundle {facts.sequence}, but showed {sequence} before: was it restored from a"
            " backup? Nothing is taken over; to go on from what it shows now, annotate this CAConfiguration"
            f' with meshca.dev/accept-sequence: "{facts.sequence}"',
        )
    return None


def _other_digest(facts: PrimaryFacts, ref: PrimaryRef) -> Problem:
    return _mismatch(
        f"the primary's roots have digest {facts.digest}, the invitation says {ref.digest}: it was made"
        " before a rotation, or this is another primary; ask for a new invitation"
    )


def _uris(facts: PrimaryFacts) -> set[str]:
    return {uri for root in facts.roots for uri in uris_of(root.certificate)}


def _mismatch(message: str) -> Problem:
    return Problem(Reason.PRIMARY_MISMATCH, message)
