"""The next step of one CAConfiguration: an ordered chain of small named checks.

Decides what to make, adopt, record, activate or remove, one step at a time, so that a crash after any
write resumes; what is served meanwhile is decided in ``planning.serving``. Never makes a second root where
there is one, never touches a key, never writes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from meshca.api.v1alpha1.caroot import RootState
from meshca.pki.certificates import to_pem
from meshca.planning import (
    castatus,
    crosses,
    laggards,
    origin,
    pruning,
    rootstatus,
    rotation,
    rotationstatus,
    secondary,
    serving,
    signers,
    turning,
)
from meshca.planning.assess import assess
from meshca.planning.authority import ANNOUNCED_AFTER
from meshca.planning.ca import CAPlan, CASnapshot
from meshca.planning.situation import Situation, secret_of
from meshca.planning.steps import (
    IRREVERSIBLE,
    AcceptSpec,
    CommitActive,
    DropRequest,
    HoldConfiguration,
    KeepCross,
    MakeSigner,
    MarkActive,
    MarkPruned,
    RaiseLeafTTL,
    RemoveRootSecret,
    RemoveSigner,
    SettleTrustDomain,
    Step,
    WriteChain,
    WriteRootStatus,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


LOOK_AGAIN: Final = timedelta(minutes=1)


def plan_configuration(snapshot: CASnapshot) -> CAPlan:
    """Decide the next step of a configuration, the status it should show and what it issues with."""
    situation = assess(snapshot)
    snapshot = situation.snapshot
    step = _last_step(situation) if snapshot.meta.deleting else _next_step(situation)
    return CAPlan(
        step=step,
        desired=situation.settled,
        trust_domain=situation.trust_domain,
        status=castatus.configuration_status(situation),
        authority=serving.authority(situation),
        bundle=situation.bundle,
        publishes=_publishes(situation),
        due=_due(situation),
        signing_root=serving.signing_root(situation),
        primary=secondary.wish_of(situation),
    )


def _publishes(situation: Situation) -> bool:
    # A secondary's places trust the primary's roots before anything is signed under them.
    begun = bool(situation.active_name) or situation.primary is not None
    return begun and not situation.stopped and not situation.snapshot.meta.deleting


def _next_step(situation: Situation) -> Step | None:
    if situation.stopped:
        return None
    for check in CHAIN if situation.primary is None else SECONDARY_CHAIN:
        step = check(situation)
        if step is not None:
            return None if situation.snapshot.clocks_differ and _waits_for_clocks(situation, step) else step
    return None


def _waits_for_clocks(situation: Situation, step: Step) -> bool:
    """Tell whether a step has to wait: a signer of the future would stand in the way of the next one."""
    if isinstance(step, MakeSigner):
        present = signers.best(situation.snapshot, step.root)
        # Not for ever, since leaves must not be cut short because a clock is never put right.
        return present is not None and signers.carries_a_leaf(present, situation)
    return isinstance(step, IRREVERSIBLE)


def _accept_spec(situation: Situation) -> Step | None:
    current = situation.problem is None and not situation.snapshot.accepted_is_current
    return AcceptSpec() if current else None


def _settle_trust_domain(situation: Situation) -> Step | None:
    if situation.snapshot.status.get("trustDomain") == situation.trust_domain.name:
        return None
    return SettleTrustDomain(situation.trust_domain.name)


def _hold_for_keys(situation: Situation) -> Step | None:
    """Keep the configuration until its keys are gone, but only when that was asked for."""
    snapshot = situation.snapshot
    return HoldConfiguration(snapshot.delete_keys) if snapshot.delete_keys != snapshot.held else None


def _raise_leaf_ttl(situation: Situation) -> Step | None:
    ttl = situation.desired.leaf_max_ttl
    for root in (situation.root, situation.target):
        if root is not None and (root.largest_leaf_ttl is None or root.largest_leaf_ttl < ttl):
            return RaiseLeafTTL(root, ttl)
    return None


def _make_signer(situation: Situation) -> Step | None:
    root, secret = situation.root, situation.root_secret
    if root is None or secret is None:
        return None
    if not signers.is_due(situation.signer, root, situation.desired, situation.snapshot.now):
        return None
    chain = to_pem(*crosses.useful(situation, root, secret))
    return MakeSigner(root, secret, chain)


def _mark_active(situation: Situation) -> Step | None:
    root = situation.root
    if root is None or root.activated_at is not None or situation.signer is None:
        return None
    return MarkActive(root)


def _commit_active(situation: Situation) -> Step | None:
    root = situation.root
    if root is None or situation.active_name == root.meta.name:
        return None
    # A lost status is restored whatever else is lost: no rotation, the way out, begins without it.
    was_active = root.activated_at is not None and root.rotated_out_at is None
    return CommitActive(root) if situation.signer is not None or was_active else None


def _clear_pruned(situation: Situation) -> Step | None:
    """Finish what the compare-and-set of a prune began: keys first, the object last."""
    for root in situation.snapshot.roots:
        step = pruning.clear_away(situation, root) if root.pruned else None
        if step is not None:
            return step
    return None


def _prune(situation: Situation) -> Step | None:
    if not situation.active_name or situation.root is None:
        return None
    found = pruning.removable(situation)
    if found is not None:
        root, why = found
        return MarkPruned(root, rootstatus.root_status(situation, root, RootState.PRUNED), why)
    return pruning.first_evidence(situation)


def _write_root_status(situation: Situation) -> Step | None:
    root = situation.root
    if root is None or situation.active_name != root.meta.name:
        return None
    for item in (root, *(other for other in situation.snapshot.roots if other is not root)):
        if item.pruned:
            continue
        wanted = rootstatus.root_status(situation, item)
        if wanted != item.status:
            return WriteRootStatus(item, wanted)
    return None


def _tidy_crosses(situation: Situation) -> Step | None:
    """Drop cross-certificates that nobody can use: expired, or by a root that is gone."""
    if situation.snapshot.unreadable_roots or not situation.active_name:
        return None
    for item in situation.snapshot.roots:
        secret = None if item.pruned else secret_of(situation.snapshot, item)
        if secret is None:
            continue
        useful = crosses.useful(situation, item, secret)
        if len(useful) != len(secret.cross):
            return KeepCross(secret, to_pem(*useful))
    return None


def _write_chain(situation: Situation) -> Step | None:
    root, signer = situation.root, situation.signer
    if root is None or signer is None or situation.active_name != root.meta.name:
        return None
    wanted = crosses.chain_of(situation, root, signer)
    return WriteChain(signer, wanted) if signer.chain != wanted else None


def _write_next_chain(situation: Situation) -> Step | None:
    """Bring the chain of the signer under the primary's new root up to date, before it is used."""
    target = situation.target
    signer = signers.best(situation.snapshot, target)
    if target is None or signer is None or not target.mirrored:
        return None
    wanted = crosses.chain_of(situation, target, signer)
    return WriteChain(signer, wanted) if signer.chain != wanted else None


def _remove_replaced_signer(situation: Situation) -> Step | None:
    replaced = signers.replaced(situation)
    return RemoveSigner(replaced[0]) if replaced else None


def _last_step(situation: Situation) -> Step | None:
    """Delete the keys of a configuration that goes, if its owner asked for that; else let it go."""
    snapshot = situation.snapshot
    if not snapshot.held or (snapshot.delete_keys and snapshot.clocks_differ):
        return None
    if not snapshot.delete_keys:
        return HoldConfiguration(held=False)
    in_use = next((root for root in snapshot.roots if not root.pruned), None)
    if in_use is not None:
        status = rootstatus.root_status(situation, in_use, RootState.PRUNED)
        return MarkPruned(in_use, status, "the keys of its configuration were to be deleted")
    step = _remove_key(snapshot) or _clear_pruned(situation)
    return step or (None if snapshot.roots else HoldConfiguration(held=False))


def _remove_key(snapshot: CASnapshot) -> Step | None:
    if snapshot.signer_secrets:
        return RemoveSigner(snapshot.signer_secrets[0])
    if snapshot.root_secrets:
        return RemoveRootSecret(snapshot.root_secrets[0])
    if snapshot.requested:
        return DropRequest(snapshot.requested[0], "the keys of its configuration were to be deleted")
    return None


CHAIN: tuple[Callable[[Situation], Step | None], ...] = (
    _settle_trust_domain,
    _accept_spec,
    _hold_for_keys,
    origin.make_first_root,
    origin.record_root,
    origin.copy_imported_key_again,
    _raise_leaf_ttl,
    turning.take_back,
    _make_signer,
    _mark_active,
    _commit_active,
    turning.record_phase,
    _write_root_status,
    _clear_pruned,
    _prune,
    turning.make_next_root,
    turning.reclaim,
    turning.prepare,
    turning.publish,
    turning.read_back,
    turning.activate,
    _tidy_crosses,
    _write_chain,
    _remove_replaced_signer,
    secondary.drop_request,
)
"""In this order; the first that finds something to do decides. A rotation begins only once the present
state is in order, and nothing is thrown away before everything is made."""
SECONDARY_CHAIN: tuple[Callable[[Situation], Step | None], ...] = (
    secondary.renew_join,
    _settle_trust_domain,
    _accept_spec,
    _hold_for_keys,
    secondary.mirror_roots,
    origin.record_root,
    _raise_leaf_ttl,
    turning.take_back,
    secondary.drop_request,
    secondary.adopt_signer,
    secondary.request_signer,
    _make_signer,
    secondary.find_active_again,
    secondary.activate_first,
    turning.record_phase,
    _write_root_status,
    _clear_pruned,
    _prune,
    turning.reclaim,
    turning.read_back,
    turning.activate,
    _tidy_crosses,
    _write_chain,
    _write_next_chain,
    _remove_replaced_signer,
)
"""The same in a secondary. What the primary has not made or said yet stops nothing: a chain goes on."""


def _due(situation: Situation) -> datetime | None:
    """Return when something changes by itself: renewals, expiry warnings, phases, prunes, the policy."""
    now, desired = situation.snapshot.now, situation.settled
    moments = [castatus.next_expiry_change(situation), castatus.next_misnamed_end(situation)]
    moments += [root.published_at for root in situation.snapshot.roots]
    if desired is not None and not situation.stopped:
        for root in (situation.root, situation.target):
            signer = signers.best(situation.snapshot, root)
            if root is not None and signer is not None:
                moments.append(signers.renew_at(signer, root, desired))
        moments += rotationstatus.next_change(situation, rotation.phase(situation))
        moments += pruning.next_change(situation) + secondary.next_change(situation)
        moments += rootstatus.cross_expiry(situation)
        moments += laggards.next_change(situation)
    if situation.snapshot.clocks_differ:
        moments.append(now + LOOK_AGAIN)
    since = situation.snapshot.admission.since
    if since is not None:
        moments.append(since + ANNOUNCED_AFTER)
    ahead = [moment for moment in moments if moment is not None and moment > now]
    return min(ahead, default=None)
