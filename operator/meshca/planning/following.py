"""How a secondary reads its primary: which root is active there, and which of its own it moves to.

Decides by what the primary told last and may be followed, and by what the status records while it has not
told anything since the start. Never decides what is written.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from meshca.api.v1alpha1.scalars import parse_duration
from meshca.errors import InvalidError
from meshca.pki import chain, lint
from meshca.pki.issuer import issuer_of
from meshca.pki.profile import CA_BACKDATE, LEAF_TTL_MIN, SIGNER_LEAF_RATIO
from meshca.planning import pinning
from meshca.planning.rotation import Aim
from meshca.planning.situation import Primary

if TYPE_CHECKING:
    from cryptography import x509

    from meshca.pki.identity import TrustDomain
    from meshca.planning.ca import CASnapshot, KeySecret, Root
    from meshca.planning.desired import Desired, PrimaryRef
    from meshca.planning.situation import Situation

_SECOND: Final = timedelta(seconds=1)


def primary_of(snapshot: CASnapshot, ref: PrimaryRef, established: TrustDomain | None) -> Primary:
    """Read what the link tells, and judge it."""
    active = pinning.recorded(snapshot).get("activeRoot")
    known = active if isinstance(active, str) else ""
    view = snapshot.view
    if snapshot.join is None or view is None or view.facts is None:
        return Primary(active_root=known)
    doubt = pinning.doubt(snapshot, view.facts, ref, established)
    if doubt is not None:
        return Primary(doubt=doubt, active_root=known)
    return Primary(
        facts=view.facts,
        answering=view.trouble is None,
        active_root=view.facts.active_root or known,
    )


def with_crosses(snapshot: CASnapshot, primary: Primary | None) -> CASnapshot:
    """Return the snapshot with the sound cross-certificates of each mirrored root, as the primary tells."""
    if not any(root.mirrored for root in snapshot.roots):
        return snapshot
    return replace(snapshot, roots=tuple(_crossed(root, snapshot.roots, primary) for root in snapshot.roots))


def _crossed(root: Root, roots: tuple[Root, ...], primary: Primary | None) -> Root:
    if not root.mirrored:
        return root
    facts = primary.facts if primary is not None else None
    told = facts.root(root.facts.fingerprint) if facts is not None else None
    claimed = told.cross if told is not None else root.cross
    sound = [item for item in claimed if any(_is_cross(item, root, other) for other in roots)]
    return replace(root, cross=tuple(dict.fromkeys(sound)))


def _is_cross(certificate: x509.Certificate, root: Root, issuer: Root) -> bool:
    if issuer is root:
        return False
    try:
        lint.lint_cross(certificate, issuer_of(issuer.certificate), new_root=root.certificate)
        chain.check_issued(certificate, issuer.certificate)
    except InvalidError:
        return False
    return True


def bounded(settled: Desired, snapshot: CASnapshot, signer: KeySecret | None) -> Desired:
    """Return the wish with the lives that the primary allows: a leaf lives a third of a signer at most."""
    # What the primary says may be anything, and a life of seconds would put off renewal to the last moment.
    life = max(intermediate_ttl(snapshot) or settled.intermediate_ttl, LEAF_TTL_MIN)
    lives = [life]
    if signer is not None and signer.facts is not None:
        lives.append(signer.facts.not_after - signer.facts.not_before - CA_BACKDATE)
    longest = max(min(lives) / SIGNER_LEAF_RATIO // _SECOND * _SECOND, LEAF_TTL_MIN)
    return replace(
        settled,
        intermediate_ttl=life,
        leaf_ttl=min(settled.leaf_ttl, longest),
        leaf_max_ttl=min(settled.leaf_max_ttl, longest),
    )


def intermediate_ttl(snapshot: CASnapshot) -> timedelta | None:
    """Return the life that the primary gives to signers, as it says now or said last."""
    if snapshot.view is not None and snapshot.view.intermediate_ttl is not None:
        return snapshot.view.intermediate_ttl
    told = pinning.recorded(snapshot).get("intermediateTTL")
    try:
        return parse_duration(told) if isinstance(told, str) else None
    except ValueError:
        return None


def active_there(snapshot: CASnapshot, primary: Primary) -> Root | None:
    """Return the mirrored root that is active in the primary, or None."""
    for root in snapshot.roots:
        if root.mirrored and root.facts.fingerprint == primary.active_root and not root.pruned:
            return root
    return None


def aim(found: Situation) -> Aim:
    """Decide which root a secondary moves to: the one that is active in its primary."""
    root, primary = found.root, found.primary
    if root is None or primary is None or found.active_name != root.meta.name:
        return Aim()
    # One that somebody deleted here, too: it stays as long as the primary has it, so nothing takes its place.
    there = active_there(found.snapshot, primary)
    if there is None or there is root or there.facts.not_after <= found.snapshot.now:
        return Aim()
    return Aim(target=there)


def wants_signer(found: Situation) -> Root | None:
    """Return the mirrored root under which this cluster's signer is to be: the one active in the primary."""
    primary = found.primary
    if primary is None or found.stopped:
        return None
    there = active_there(found.snapshot, primary)
    if there is None or there.facts.not_after <= found.snapshot.now:
        return None
    return there if there in (found.root, found.target) else None
