"""What the status of a CARoot says: its place in life, its cross-certificates, its signer, who needs it.

Decides the state of a root from annotations, wish and phase. The number of leaves that still need a retired
root is written only when it has changed by half, or has come to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshca.api.v1alpha1.caroot import RootState
from meshca.api.v1alpha1.conditions import (
    Condition,
    ConditionType,
    Reason,
    find_condition,
    observed,
    set_condition,
)
from meshca.api.v1alpha1.scalars import format_time
from meshca.pki.certificates import to_pem
from meshca.planning import crosses, pruning, rotation, signers

if TYPE_CHECKING:
    from datetime import datetime

    from meshca.planning.ca import Root
    from meshca.planning.situation import Situation

JSON = dict[str, Any]


def state_of(found: Situation, root: Root) -> RootState:
    """Return a root's place in its life."""
    if root.pruned:
        return RootState.PRUNED
    if found.active_name == root.meta.name:
        return RootState.ACTIVE
    if root is found.target and rotation.is_published(root):
        return RootState.PUBLISHED
    return RootState.RETIRING if root.activated_at and found.active_name else RootState.PREPARED


def root_status(found: Situation, root: Root, state: RootState | None = None) -> JSON:
    """Return the status that a CARoot should have, in its own state or in a given one."""
    state = state or state_of(found, root)
    status: JSON = {
        "observedGeneration": root.meta.generation,
        "state": state.value,
        "fingerprint": root.facts.fingerprint,
        "notAfter": format_time(root.facts.not_after),
    }
    shown = root.mirrored or state in {RootState.ACTIVE, RootState.RETIRING}
    crosses = _crosses(found, root) if shown and state is not RootState.PRUNED else []
    if crosses:
        status["crossCertificates"] = crosses
    signer = _signer(found, root) if state is not RootState.PRUNED else None
    if signer is not None:
        status["signer"] = signer
    if root.activated_at is not None:
        status["activatedAt"] = format_time(root.activated_at)
    if state is RootState.RETIRING:
        for name, moment in (("rotatedOutAt", root.rotated_out_at), ("prunableAfter", root.prunable_after)):
            if moment is not None:
                status[name] = format_time(moment)
        leaves = _leaves(found, root)
        if leaves:
            status["leaves"] = leaves
    status["conditions"] = [condition.to_dict() for condition in _conditions(found, root, state)]
    return status


def _crosses(found: Situation, root: Root) -> list[str]:
    secret = crosses.holder(found.snapshot, root)
    if secret is None:
        told = root.status.get("crossCertificates")
        return told if isinstance(told, list) else []
    return [to_pem(item) for item in crosses.useful(found, root, secret)]


def _signer(found: Situation, root: Root) -> JSON | None:
    signer = signers.best(found.snapshot, root)
    if signer is None or signer.facts is None or found.settled is None:
        return None
    status = {
        "certificateChain": crosses.chain_of(found, root, signer),
        "secretName": signer.meta.name,
        "notAfter": format_time(signer.facts.not_after),
    }
    if root in (found.root, found.target):
        status["renewAt"] = format_time(signers.renew_at(signer, root, found.settled))
    return status


def _leaves(found: Situation, root: Root) -> int:
    number = found.snapshot.census.by_root.get(root.facts.fingerprint, 0)
    before = root.status.get("leaves")
    told = before if isinstance(before, int) else 0
    if found.snapshot.census.unread:
        return told
    return number if not number or abs(number - told) > told // 2 else told


def _conditions(found: Situation, root: Root, state: RootState) -> tuple[Condition, ...]:
    ready, reason, message = _ready(found, root, state)
    told = observed(root.status)
    before = find_condition(told, ConditionType.READY)
    # What was found out last stays until somebody has looked again: no reason to write anything.
    unknown = bool(found.snapshot.census.unread) or pruning.what_holds(found, root) is None
    if before is not None and root.status.get("state") == state and unknown:
        message = before.message
    return set_condition(
        told,
        ConditionType.READY,
        "True" if ready else "False",
        reason,
        message,
        observed_generation=root.meta.generation,
        now=found.snapshot.now,
    )


def _ready(found: Situation, root: Root, state: RootState) -> tuple[bool, str, str]:
    holds = pruning.what_holds(found, root)
    waits = f"; it is to be removed, but {holds}" if holds else ""
    match state:
        case RootState.ACTIVE:
            return True, Reason.INITIALISED, f"the root is active{waits}"
        case RootState.PUBLISHED:
            return True, Reason.INITIALISED, "the root is published and comes into use next"
        case RootState.RETIRING:
            return True, Reason.INITIALISED, f"the root is trusted, {pruning.kept_until(root)}{waits}"
        case RootState.PRUNED:
            return False, Reason.PENDING, "the root is never used again and is being removed"
        case _:
            return False, Reason.PENDING, f"the root is being prepared{waits}"


def cross_expiry(found: Situation) -> tuple[datetime, ...]:
    """Return when a cross-certificate that is being served expires (UTC)."""
    root, signer = found.root, found.signer
    if root is None or signer is None:
        return ()
    return tuple(item.not_valid_after_utc for item in crosses.served(found, root, signer))
