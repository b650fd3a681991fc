"""Which root leaves, when, and what still holds it: prunes, discards and deletions of CARoots.

Decides by stored times and by evidence, which is a consistent list of everybody who needs the root; never
by the watch store. Never the active root, never the one that a rotation moves to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from meshca.api import names
from meshca.api.v1alpha1.conditions import ConditionType, find_condition, observed
from meshca.api.v1alpha1.scalars import format_time
from meshca.planning import crosses, rotation, secondaries
from meshca.planning.steps import (
    DeleteRoot,
    GatherEvidence,
    MarkRotatedOut,
    ReleaseRoot,
    RemoveRootSecret,
    RemoveSigner,
)

if TYPE_CHECKING:
    from datetime import datetime

    from meshca.planning.ca import CASnapshot, Evidence, Root
    from meshca.planning.secondaries import Hold
    from meshca.planning.situation import Primary, Situation
    from meshca.planning.steps import Step

DISCARDED: Final = "it was never used and is not asked for any more"
DUE: Final = "no leaf can need it any more"
ASKED: Final = "its deletion was asked for and no leaf needs it"
GONE: Final = "the primary has it no more, and no leaf can need it"
FORCED: Final = "it was asked for with prune-now, whoever needs it"


@dataclass(frozen=True, slots=True)
class Removal:
    """Why a root is to go, and what stands in the way ("" = nothing); ``unknown`` asks for evidence first."""

    why: str
    obstacle: str = ""
    unknown: bool = False
    again: datetime | None = None
    secondaries: tuple[Hold, ...] = ()


def removal(found: Situation, root: Root) -> Removal | None:
    """Decide about one root; None when nobody wants it gone."""
    why, forced = _why(found, root), root is not found.target and _is_forced(root)
    if not why and not forced:
        return None
    if root is found.root:
        return Removal(why or FORCED, "it is active: rotate first")
    if found.primary is not None and root.mirrored and found.primary.lists(root) is not False:
        return Removal(why or FORCED, "the primary has it, or does not answer: prune it there first")
    held = _kept_alive(found, root) if forced else ""
    if forced and not held:
        return Removal(FORCED)
    # What cannot be forced goes all the same when its time has come, or when nobody needs it.
    return _by_need(found, root, why) if why else Removal(FORCED, held, again=root.prunable_after)


def _by_need(found: Situation, root: Root, why: str) -> Removal:
    watched = _watched(found, root)
    if watched is not None:
        return Removal(why, watched, again=_first_end(found))
    # Before the evidence, which a look has only in its course: the status must not depend on how far it is.
    waits = _undelivered(found, root) if why == ASKED else None
    if waits is not None:
        return waits
    held = secondaries.holds(found.snapshot, root)
    if held:
        listed = "; ".join(f"secondary cluster {item.cluster!r} {item.why}" for item in held)
        return Removal(why, listed, again=min(item.until for item in held), secondaries=held)
    evidence = evidence_of(found.snapshot, root)
    if evidence is None:
        return Removal(why, unknown=True)
    if not evidence.count:
        return Removal(why)
    more = evidence.count - len(evidence.blockers)
    listed = ", ".join(evidence.blockers) + (f" and {more} more" if more else "")
    return Removal(why, f"needed by {listed}", again=evidence.next_end)


def _undelivered(found: Situation, root: Root) -> Removal | None:
    """Say whether a leaf that moved may not have reached its holder yet.

    A Secret reaches the files of a Pod a minute or two after it was written; until then the old leaf, which
    no request shows any more, is the one that is served.
    """
    turning = find_condition(observed(found.snapshot.status), ConditionType.ROTATION_IN_PROGRESS)
    if root.rotated_out_at is None or turning is None or turning.last_transition_time is None:
        return None
    if turning.status == "True":
        return Removal(ASKED, "a rotation is in progress")
    settled = turning.last_transition_time + rotation.SKEW
    if found.snapshot.now >= settled:
        return None
    held = f"holders of leaves that were replaced have until {format_time(settled)} to load the new ones"
    return Removal(ASKED, held, again=settled)


def retired_again(found: Situation) -> Step | None:
    """Record of a root that is no longer used, or was to be used again and is not, that it is out."""
    for root in found.snapshot.roots:
        if root in (found.root, found.target) or root.pruned or root.activated_at is None:
            continue
        if root.rotated_out_at is None:
            return MarkRotatedOut(root, prunable_after(found, root))
        if root.reclaimed:
            return MarkRotatedOut(root, root.prunable_after or prunable_after(found, root))
    return None


def prunable_after(found: Situation, root: Root) -> datetime:
    """Return until when a root that is rotated out now is kept at least: never earlier than stored."""
    moment = found.snapshot.now + rotation.keep_for(root, found.desired)
    return max(moment, root.prunable_after or moment)


def first_evidence(found: Situation) -> Step | None:
    """Ask for evidence about the first root whose removal depends on it."""
    for root in found.snapshot.roots:
        decision = None if root.pruned else removal(found, root)
        if decision is not None and decision.unknown:
            return GatherEvidence(root)
    return None


def removable(found: Situation) -> tuple[Root, str] | None:
    """Return the first root that is to go now, and why."""
    for root in found.snapshot.roots:
        decision = None if root.pruned else removal(found, root)
        if decision is not None and not decision.unknown and not decision.obstacle:
            return root, decision.why
    return None


def clear_away(found: Situation, root: Root) -> Step | None:
    """Return what is left to be done about a pruned root: its keys first, the object last."""
    step = _remove_keys(found.snapshot, root)
    if step is not None:
        return step
    if not root.meta.deleting:
        return DeleteRoot(root)
    return ReleaseRoot(root) if names.FINALIZER in root.finalizers else None


def _remove_keys(snapshot: CASnapshot, root: Root) -> Step | None:
    others = [item for item in snapshot.roots if not item.pruned]
    key_ids = {item.facts.subject_key_id for item in others}
    certificates = {item.facts.fingerprint for item in others}
    for secret in snapshot.signer_secrets:
        facts = secret.facts
        if facts is not None and facts.authority_key_id == root.facts.subject_key_id not in key_ids:
            return RemoveSigner(secret)
    for secret in snapshot.root_secrets:
        # Two CARoots of one certificate have one key: it goes with the last.
        same = secret.facts is not None and secret.facts.fingerprint == root.facts.fingerprint
        if same and root.facts.fingerprint in certificates:
            continue
        if same or (secret.facts is None and secret.meta.name == root.key_secret):
            return RemoveRootSecret(secret)
    return None


def evidence_of(snapshot: CASnapshot, root: Root) -> Evidence | None:
    """Return what was found out about who needs a root."""
    wanted = root.facts.fingerprint
    return next((item for item in snapshot.evidence if item.root == wanted), None)


def next_change(found: Situation) -> tuple[datetime, ...]:
    """Return when time alone may let a root go (UTC)."""
    moments = []
    for root in found.snapshot.roots:
        if root.pruned or root in (found.root, found.target):
            continue
        decision = removal(found, root)
        if decision is not None and decision.again is not None:
            moments.append(decision.again)
        elif root.prunable_after is not None:
            moments.append(root.prunable_after)
    return tuple(moments)


def what_holds(found: Situation, root: Root) -> str | None:
    """Say of a root that is to go what stands in the way, or ""; None while nobody has looked."""
    decision = None if root.pruned else removal(found, root)
    if decision is not None and decision.unknown:
        return None
    return decision.obstacle if decision is not None else ""


def kept_until(root: Root) -> str:
    """Say when a retired root goes by itself."""
    return f"kept until {format_time(root.prunable_after)}" if root.prunable_after else "kept"


def _watched(found: Situation, root: Root) -> str | None:
    """Say who needs a root as far as the watch knows, which saves asking the API server; None: nobody."""
    census = found.snapshot.census
    number = census.by_root.get(root.facts.fingerprint, 0)
    if number:
        listed = ", ".join(item.name for item in census.stragglers)
        return f"{number} leaves need it, the first to expire are {listed}"
    # Without a signer they are not read at all: then only the API server knows.
    return "the leaves are still being read" if census.unread and found.signer is not None else None


def _first_end(found: Situation) -> datetime | None:
    stragglers = found.snapshot.census.stragglers
    return stragglers[0].not_after if stragglers else None


def _why(found: Situation, root: Root) -> str:
    if root is found.target:
        return ""
    if root.meta.deleting:
        return ASKED
    if found.primary is not None and root is not found.root:
        return _why_in_secondary(found, root, found.primary)
    if root is found.root or found.maybe_wish is None:
        return ""
    if root.activated_at is None:
        # One that was mirrored may have leaves in other clusters: a person decides.
        unused = found.active_name and found.root is not None and not root.mirrored
        return DISCARDED if unused else ""
    due = root.retired and root.prunable_after is not None and found.snapshot.now >= root.prunable_after
    return DUE if due else ""


def _why_in_secondary(found: Situation, root: Root, primary: Primary) -> str:
    if root.mirrored and primary.lists(root) is not False:
        return ""
    if root.activated_at is None:
        return GONE if root.mirrored else DISCARDED
    due = root.retired and root.prunable_after is not None and found.snapshot.now >= root.prunable_after
    return (GONE if root.mirrored else DUE) if due else ""


def _is_forced(root: Root) -> bool:
    return bool(root.prune_now) and root.prune_now == root.facts.fingerprint


def _kept_alive(found: Situation, root: Root) -> str:
    """Say which trusted root keeps a root trusted by having signed it, or ""."""
    name, now = root.key_secret, found.snapshot.now
    secret = next((item for item in found.snapshot.root_secrets if item.meta.name == name), None)
    for other in found.trusted:
        if other is root or secret is None or other.facts.not_after <= now:
            continue
        if other not in (found.root, found.target) and _is_forced(other):
            # It goes, too: two roots that signed each other would hold each other for ever.
            continue
        if crosses.is_crossed(secret, other):
            signer = other.meta.name
            return f"root {signer!r} signed it and is trusted, so it would stay trusted: prune that first"
    return ""
