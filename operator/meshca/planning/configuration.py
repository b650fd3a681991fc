"""The next step of one CAConfiguration: an ordered chain of small named checks.

Decides what to make, adopt, record, activate or remove, one step at a time, so that a crash after any
write resumes; and what leaves are issued with meanwhile. Never makes a second root where there is
one, never touches a key, never writes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from meshca.api import names
from meshca.planning import castatus, signers
from meshca.planning.authority import ANNOUNCED_AFTER, Authority, Unavailable
from meshca.planning.ca import (
    AcceptSpec,
    CAPlan,
    CASnapshot,
    CommitActive,
    MakeRoot,
    MakeSigner,
    MarkActive,
    RaiseLeafTTL,
    RecordRoot,
    RemoveSigner,
    SettleTrustDomain,
    Step,
    WriteRootStatus,
)
from meshca.planning.situation import Situation, assess

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


LOOK_AGAIN: Final = timedelta(minutes=1)


def plan_configuration(snapshot: CASnapshot) -> CAPlan:
    """Decide the next step of a configuration, the status it should show and what it issues with."""
    situation = assess(snapshot)
    step = None if snapshot.meta.deleting else _next_step(situation)
    return CAPlan(
        step=step,
        desired=situation.settled,
        trust_domain=situation.trust_domain,
        status=castatus.configuration_status(situation),
        authority=_authority(situation),
        due=_due(situation),
    )


def _next_step(situation: Situation) -> Step | None:
    if situation.stopped:
        return None
    for check in CHAIN:
        step = check(situation)
        if step is not None:
            held = situation.snapshot.clocks_differ and isinstance(step, IRREVERSIBLE)
            return None if held else step
    return None


def _accept_spec(situation: Situation) -> Step | None:
    current = situation.problem is None and not situation.snapshot.accepted_is_current
    return AcceptSpec() if current else None


def _settle_trust_domain(situation: Situation) -> Step | None:
    if situation.snapshot.status.get("trustDomain") == situation.trust_domain.name:
        return None
    return SettleTrustDomain(situation.trust_domain.name)


def _make_first_root(situation: Situation) -> Step | None:
    snapshot = situation.snapshot
    there = snapshot.roots or snapshot.root_secrets or snapshot.signer_secrets or snapshot.unreadable_roots
    if there or situation.active_name:
        return None
    wish = situation.wish
    return MakeRoot(
        secret=names.root_secret(snapshot.meta.name, wish.identity),
        identity=wish.identity,
        base=wish.base,
        renewal=0,
        imported=wish.imported,
    )


def _record_root(situation: Situation) -> Step | None:
    """Adopt root Secrets without a CARoot: what an interrupted pass, or a restore, left behind."""
    snapshot = situation.snapshot
    recorded = {root.facts.fingerprint for root in snapshot.roots}
    taken = {root.key_secret for root in snapshot.roots}
    for secret in snapshot.root_secrets:
        # A Secret that held the key of another root was tampered with: its root is told as missing.
        if secret.meta.name in taken or not secret.usable or secret.facts is None:
            continue
        if secret.facts.fingerprint not in recorded:
            return RecordRoot(secret, imported=secret.base == secret.facts.fingerprint[:10])
    return None


def _raise_leaf_ttl(situation: Situation) -> Step | None:
    root = situation.root
    if root is None:
        return None
    ttl = situation.desired.leaf_max_ttl
    if root.largest_leaf_ttl is not None and root.largest_leaf_ttl >= ttl:
        return None
    return RaiseLeafTTL(root, ttl)


def _make_signer(situation: Situation) -> Step | None:
    root, secret = situation.root, situation.root_secret
    if root is None or secret is None or not signers.is_due(situation):
        return None
    return MakeSigner(root, secret)


def _mark_active(situation: Situation) -> Step | None:
    root = situation.root
    if root is None or root.activated_at is not None or situation.signer is None:
        return None
    return MarkActive(root)


def _commit_active(situation: Situation) -> Step | None:
    root = situation.root
    if root is None or situation.signer is None or situation.active_name == root.meta.name:
        return None
    return CommitActive(root)


def _write_root_status(situation: Situation) -> Step | None:
    root = situation.root
    if root is None or situation.active_name != root.meta.name:
        return None
    wanted = castatus.root_status(situation, root)
    return WriteRootStatus(root, wanted) if wanted != root.status else None


def _remove_replaced_signer(situation: Situation) -> Step | None:
    replaced = signers.replaced(situation)
    return RemoveSigner(replaced[0]) if replaced else None


CHAIN: tuple[Callable[[Situation], Step | None], ...] = (
    _settle_trust_domain,
    _accept_spec,
    _make_first_root,
    _record_root,
    _raise_leaf_ttl,
    _make_signer,
    _mark_active,
    _commit_active,
    _write_root_status,
    _remove_replaced_signer,
)


IRREVERSIBLE: Final = (MakeRoot, MarkActive, CommitActive, RemoveSigner)
"""What is not done while our clock and the API server's differ."""


def _authority(situation: Situation) -> Authority | Unavailable:
    snapshot = situation.snapshot
    if snapshot.meta.deleting:
        return castatus.unavailable("the CAConfiguration is being deleted")
    root, signer, desired = situation.root, situation.signer, situation.settled
    if desired is None or root is None or signer is None or situation.active_name != root.meta.name:
        return castatus.unavailable(castatus.why_not_ready(situation))
    assert signer.certificate is not None
    assert signer.facts is not None
    # Not before it is on record on the CARoot may a leaf live longer.
    longest = root.largest_leaf_ttl or desired.leaf_max_ttl
    return Authority(
        configuration=snapshot.meta.name,
        trust_domain=situation.trust_domain,
        cluster_name=desired.cluster_name,
        naming=desired.naming,
        leaf_ttl=min(desired.leaf_ttl, longest),
        leaf_max_ttl=min(desired.leaf_max_ttl, longest),
        root=root.facts.fingerprint,
        signer=signer.certificate,
        signer_key_id=signer.facts.subject_key_id,
        signer_secret=signer.meta.name,
        signer_not_after=signer.facts.not_after,
        chain=castatus.signer_chain(signer),
        bundle=situation.bundle.pem,
        bundle_digest=situation.bundle.digest,
        trusted=situation.bundle.roots,
        generation=snapshot.meta.generation,
    )


def _due(situation: Situation) -> datetime | None:
    """Return when something changes by itself: signer renewal, expiry warnings, the policy settling."""
    now = situation.snapshot.now
    renewal = signers.renew_at(situation) if situation.settled is not None else None
    moments = [renewal, castatus.next_expiry_change(situation)]
    if situation.snapshot.clocks_differ:
        moments.append(now + LOOK_AGAIN)
    since = situation.snapshot.admission.since
    if since is not None:
        moments.append(since + ANNOUNCED_AFTER)
    ahead = [moment for moment in moments if moment is not None and moment > now]
    return min(ahead, default=None)
