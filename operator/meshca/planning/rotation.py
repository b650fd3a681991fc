"""Which root a configuration moves to, what holds that up, and how far it has come.

Decides by certificates, annotations and recorded evidence alone, so that whoever looks, after whatever
crash, sees the same phase. Never says what to do about it: that is ``planning.configuration``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from meshca.api.v1alpha1.castatus import RotationPhase
from meshca.api.v1alpha1.conditions import Reason
from meshca.api.v1alpha1.scalars import format_time
from meshca.pki import desired as identities
from meshca.planning import crosses, secondaries, signers
from meshca.planning.situation import Problem, Wish, secret_of

if TYPE_CHECKING:
    from datetime import datetime

    from meshca.planning.ca import CASnapshot, Root
    from meshca.planning.desired import Desired
    from meshca.planning.situation import Situation

MOST_LIVE: Final = 3
"""Roots that may be trusted at once."""
SKEW: Final = timedelta(minutes=10)
ACKNOWLEDGED_WITHIN: Final = timedelta(minutes=10)
"""How long a place that does not take the bundle may hold up a rotation."""
UNCROSSED_PUBLISH_TIME: Final = timedelta(minutes=5)
BEFORE: Final = frozenset({RotationPhase.PREPARE, RotationPhase.PUBLISH, RotationPhase.ACTIVATE})
"""The phases before another root is active."""


@dataclass(frozen=True, slots=True)
class Aim:
    """The root to move to, if it exists; else the one to make; and what holds that up."""

    target: Root | None = None
    make: Wish | None = None
    hold: Problem | None = None


def aim(found: Situation) -> Aim:
    """Decide where a configuration whose first root is active is going."""
    root, wish, desired, now = found.root, found.maybe_wish, found.settled, found.snapshot.now
    if root is None or wish is None or desired is None or found.active_name != root.meta.name:
        return Aim()
    same = meets(root, wish)
    if same and not ends_soon(root, desired, now):
        return Aim()
    others = [item for item in found.snapshot.roots if item is not root and meets(item, wish)]
    if same:
        others = [item for item in others if item.renewal > root.renewal]
    usable = [item for item in others if _usable(found.snapshot, item, desired)]
    if usable:
        target = max(usable, key=lambda item: (item.renewal, item.meta.name))
        return Aim(target=target, hold=_blocked(found, target))
    leaving = next((item for item in others if item.pruned or item.meta.deleting), None)
    hold = _waits_for(found, leaving) or _blocked(found, None)
    return Aim(make=None if hold else _next(found, wish, desired), hold=hold)


def meets(root: Root, wish: Wish) -> bool:
    """Tell whether a root is the one asked for, whatever its renewal number."""
    return root.base == wish.base or (not root.base and root.key_secret.endswith(f"-{wish.identity}"))


def warned_from(root: Root, desired: Desired) -> datetime:
    """Return when a root begins to be near its end: by default for the last fifth of its own life."""
    facts = root.facts
    before = desired.root_renew_before
    if before is None:
        # Not of the life that new roots get: a change of that is no reason to rotate.
        before = (facts.not_after - facts.not_before) // 5
    return facts.not_after - before


def ends_soon(root: Root, desired: Desired, now: datetime) -> bool:
    """Tell whether a root is to be replaced because of its age: never an imported one, nor too late."""
    end = root.facts.not_after
    return root.source != "Imported" and warned_from(root, desired) <= now < end


def forced(found: Situation) -> bool:
    """Tell whether this rotation is permitted to go on without cross-certificates."""
    desired, root = found.desired, found.root
    return (
        bool(desired.force)
        and desired.force == desired.trigger
        and (root is not None and desired.force != root.trigger)
    )


def is_prepared(found: Situation) -> bool:
    """Tell whether the cross-certificates of the new root, and its signer, are all there."""
    target = found.target
    secret = crosses.holder(found.snapshot, target)
    assert target is not None
    assert secret is not None
    # Whether a mirrored root is crossed is the primary's business.
    possible = not target.mirrored and [
        item
        for item in crosses.missing(found, target, secret)
        if not crosses.cannot_cross(found.snapshot, item, target)
    ]
    signer = signers.best(found.snapshot, target)
    return not possible and signer is not None and signer.chain == crosses.chain_of(found, target, signer)


def is_published(target: Root) -> bool:
    """Tell whether a new root was put into the bundle for this rotation."""
    if target.rotated_out_at is not None:
        return target.reclaimed
    return target.published_at is not None


def published_for(found: Situation, target: Root) -> timedelta:
    """Return the least time for which the new root must have been published."""
    wanted = found.desired.minimum_publish_time
    if wanted is not None:
        return wanted
    secret = crosses.holder(found.snapshot, target)
    crossed = secret is not None and not crosses.missing(found, target, secret)
    # With every older root expired nobody's handshake works: there is nothing left to protect.
    return timedelta(0) if crossed else UNCROSSED_PUBLISH_TIME


def bundle_in_secrets(found: Situation) -> bool:
    """Tell whether managed Secrets must hold the new bundle, since no cross-certificate helps them."""
    target = found.target
    if target is None or not is_published(target):
        return _comes_uncrossed(found)
    secret = crosses.holder(found.snapshot, target)
    return secret is not None and bool(crosses.missing(found, target, secret))


def _comes_uncrossed(found: Situation) -> bool:
    """Tell whether the primary shows a root that it may put into use without cross-certificates."""
    facts = found.primary.facts if found.primary is not None else None
    unused = any(root.mirrored and root.activated_at is None for root in found.trusted)
    return facts is not None and facts.uncrossed and unused


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether the new root may be used: open, or why not and when that may change (UTC)."""

    is_open: bool
    why: str = ""
    until: datetime | None = None
    read_back: bool = False
    """Whether a consistent look at all places is all that is missing."""


def gate(found: Situation) -> Gate:
    """Decide whether everybody who must trust the new root had the chance to."""
    target, now = found.target, found.snapshot.now
    assert target is not None
    assert target.published_at is not None
    opens = target.published_at + published_for(found, target)
    patience = target.published_at + ACKNOWLEDGED_WITHIN
    why = _unpublished(found, patience)
    if why:
        return Gate(is_open=False, why=why, until=patience)
    # With every older root expired nobody's handshake works: there is nothing left to protect.
    protects, uncrossed = bool(crosses.signers_of(found, target)), bundle_in_secrets(found)
    waits = secondaries.waits_for(found.snapshot, found.bundle.fingerprints) if protects else ""
    if waits and (uncrossed or now < patience):
        return Gate(is_open=False, why=waits, until=None if uncrossed else patience)
    if now < opens:
        return Gate(is_open=False, why=f"the new root is published until {format_time(opens)}", until=opens)
    if not found.snapshot.publication.read_back:
        return Gate(is_open=False, why="the published bundles are being read back", read_back=True)
    return Gate(is_open=True)


def _unpublished(found: Situation, patience: datetime) -> str:
    """Say which place of this cluster is still to take the bundle, or ""."""
    publication, census, now = found.snapshot.publication, found.snapshot.census, found.snapshot.now
    if publication.digest != found.bundle.digest or not publication.complete:
        return "the bundle is being published"
    if publication.behind and now < patience:
        return f"waits for the bundle in {', '.join(publication.behind[:3])}"
    if not bundle_in_secrets(found) or now >= patience:
        return ""
    if census.unread:
        return "the leaves are still being read"
    return f"waits for the bundle in {census.bundles_behind} managed Secrets" if census.bundles_behind else ""


def phase(found: Situation) -> RotationPhase | None:
    """Return the phase of the rotation in progress, or of the last one; None when there was none."""
    if found.hold is None and (found.make is not None or found.target is not None):
        if found.target is None or not is_published(found.target) or not is_prepared(found):
            return RotationPhase.PREPARE
        return RotationPhase.ACTIVATE if gate(found).is_open else RotationPhase.PUBLISH
    return _after(found)


def _after(found: Situation) -> RotationPhase | None:
    """Return the phase once the new root is active."""
    root, told = found.root, recorded(found)
    if root is None or found.active_name != root.meta.name:
        return None
    census = found.snapshot.census
    if told.get("to") != root.meta.name:
        lost = not told and census.left > 0 and previous(found) is not None
        return RotationPhase.REISSUE if lost else None
    if told.get("phase") == RotationPhase.COMPLETE:
        return RotationPhase.COMPLETE
    if told.get("phase") is None:
        return None
    end = deadline(found)
    over = end is not None and found.snapshot.now >= end
    done = not census.left and not census.unread
    return RotationPhase.COMPLETE if done or over else RotationPhase.REISSUE


def recorded(found: Situation) -> dict[str, object]:
    """Return what the status says of the present or last rotation."""
    told = found.snapshot.status.get("rotation")
    return told if isinstance(told, dict) else {}


def previous(found: Situation) -> Root | None:
    """Return the root that was rotated out last."""
    retired = [item for item in found.snapshot.roots if item.rotated_out_at and item is not found.root]
    return max(retired, key=lambda item: (item.rotated_out_at, item.meta.name), default=None)


def deadline(found: Situation) -> datetime | None:
    """Return when a rotation is complete although leaves have not moved."""
    old = previous(found)
    if old is None or old.rotated_out_at is None:
        return None
    return old.rotated_out_at + (found.desired.rotation_deadline or keep_for(old, found.desired))


def keep_for(root: Root, desired: Desired) -> timedelta:
    """Return how long a root is kept after it was rotated out: its longest leaf, and the skew of clocks."""
    return max(root.largest_leaf_ttl or timedelta(0), desired.leaf_max_ttl) + SKEW


def _usable(snapshot: CASnapshot, root: Root, desired: Desired) -> bool:
    if root.pruned or root.meta.deleting or root.facts.not_after <= snapshot.now:
        return False
    return secret_of(snapshot, root) is not None and not ends_soon(root, desired, snapshot.now)


def _waits_for(found: Situation, leaving: Root | None) -> Problem | None:
    if leaving is not None:
        return Problem(
            Reason.ROTATION_QUEUED,
            f"waits until CARoot {leaving.meta.name!r}, which is being removed, is gone",
        )
    live = [item for item in found.snapshot.roots if not item.pruned]
    if len(live) < MOST_LIVE:
        return None
    held = min(live, key=lambda item: (item.prunable_after is None, item.prunable_after, item.meta.name))
    until = f" after {format_time(held.prunable_after)}" if held.prunable_after else ""
    return Problem(
        Reason.ROTATION_QUEUED,
        f"there are {len(live)} live roots already; waits until CARoot {held.meta.name!r} is pruned{until}",
    )


def _blocked(found: Situation, target: Root | None) -> Problem | None:
    if forced(found):
        return None
    secret = secret_of(found.snapshot, target)
    assert found.root is not None
    for issuer in {
        item.meta.name: item for item in (found.root, *crosses.signers_of(found, target))
    }.values():
        if secret is not None and crosses.is_crossed(secret, issuer):
            continue
        why = crosses.cannot_cross(found.snapshot, issuer, target)
        if why:
            return Problem(
                Reason.ROTATION_BLOCKED,
                f"{Reason.CROSS_SIGNING_UNSUPPORTED}: {why}, so peers that know only it would refuse leaves"
                " of a new root. Either make it able to (a provider that cross-signs, its key put back), or"
                " permit the rotation by setting spec.rotation.trigger and"
                " spec.rotation.forceWithoutCrossSigning to the same new text",
            )
    return None


def _next(found: Situation, wish: Wish, desired: Desired) -> Wish:
    """Return the root to make: the wish, under the first renewal number that was not used."""
    used = [item.renewal for item in found.snapshot.roots if item.base == wish.base]
    if wish.imported or not used:
        return wish
    number = max(used) + 1
    identity = identities.desired_identity(desired.provider, "", desired.key, desired.trigger, number)
    return Wish(identity=identity, base=wish.base, imported=False, renewal=number)
