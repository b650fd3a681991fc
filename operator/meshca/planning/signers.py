"""Which signer signs, when it is renewed, and which ones a newer one has replaced.

Decides by certificates alone. A signer is renewed at half of its life, or early when less is left than
a leaf may want; but only if the new one would live at least a quarter longer than the old one has left
and the last one is at least a minute old, so that a root near its end never causes a loop of signers.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature

from meshca.pki.garbage import GARBAGE
from meshca.pki.profile import CA_BACKDATE
from meshca.pki.renewal import half_life

if TYPE_CHECKING:
    from meshca.planning.ca import CASnapshot, KeySecret, Root
    from meshca.planning.desired import Desired
    from meshca.planning.situation import Situation

MINIMUM_GAIN = 1.25
MINIMUM_INTERVAL = timedelta(minutes=1)


def best(snapshot: CASnapshot, root: Root | None) -> KeySecret | None:
    """Return the newest usable signer under a root; one of the future only for want of another."""
    if root is None:
        return None
    now = snapshot.now
    found = [secret for secret in snapshot.signer_secrets if _signs_under(secret, root, now)]
    return max(
        found, key=lambda secret: (not is_of_the_future(secret, now), *_age_order(secret)), default=None
    )


def _age_order(secret: KeySecret) -> tuple[datetime, str]:
    assert secret.facts is not None
    return (secret.facts.not_before, secret.meta.name)


def is_of_the_future(secret: KeySecret, now: datetime) -> bool:
    """Tell whether peers refuse a signer as not yet valid: it was made while a clock was wrong."""
    return secret.facts is not None and secret.facts.not_before > now


def _signs_under(secret: KeySecret, root: Root, now: datetime) -> bool:
    if not secret.usable or secret.certificate is None or secret.facts is None:
        return False
    if secret.facts.not_after <= now:
        return False
    try:
        secret.certificate.verify_directly_issued_by(root.certificate)
    except (InvalidSignature, *GARBAGE):
        return False
    return True


def carries_a_leaf(secret: KeySecret, situation: Situation) -> bool:
    """Tell whether a signer outlives the longest leaf that is made now."""
    facts, now = secret.facts, situation.snapshot.now
    return facts is not None and facts.not_after - now > situation.desired.leaf_max_ttl


def renew_at(signer: KeySecret, root: Root, desired: Desired) -> datetime:
    """Return when a signer is renewed, at the latest when it ends.

    At half-life, or when a leaf would be cut short; but not before a new one would gain enough, nor within
    a minute of its making.
    """
    assert signer.facts is not None
    old, root_end = signer.facts, root.facts.not_after
    wanted = min(half_life(old.not_before, old.not_after), old.not_after - desired.leaf_max_ttl)
    rested = old.not_before + CA_BACKDATE + MINIMUM_INTERVAL
    # From these on, a new signer that ends after its own life, or with the root, gains enough.
    gains_by_life = old.not_after - desired.intermediate_ttl / MINIMUM_GAIN
    more = min(root_end - old.not_after, desired.intermediate_ttl)
    gains_by_root = old.not_after - more / (MINIMUM_GAIN - 1)
    moment = max(wanted, rested, gains_by_life, gains_by_root)
    if moment.microsecond:
        moment = moment.replace(microsecond=0) + timedelta(seconds=1)
    return min(moment, old.not_after)


def is_due(signer: KeySecret | None, root: Root, desired: Desired, now: datetime) -> bool:
    """Return whether a signer is to be made under a root now."""
    if root.facts.not_after <= now:
        return False
    return signer is None or is_of_the_future(signer, now) or now >= renew_at(signer, root, desired)


def under(situation: Situation, root: Root) -> tuple[KeySecret, ...]:
    """Return the Secrets of signers that a root signed, whatever their state."""
    return tuple(item for item in situation.snapshot.signer_secrets if item.facts and _was_for(item, root))


def replaced(situation: Situation) -> tuple[KeySecret, ...]:
    """Return signers that a newer one has replaced, that no root here has signed, and unusable ones.

    None of them while the active root, or its signer, is missing: what is left may be needed to restore.
    """
    snapshot, root, signer = situation.snapshot, situation.root, situation.signer
    if root is None or signer is None or situation.active_name != root.meta.name or snapshot.unreadable_roots:
        return ()
    kept = {found.meta.name for item in snapshot.roots if (found := best(snapshot, item)) is not None}
    # One that has expired is kept where there is no better one, but not beside the active one.
    waiting = {
        item.meta.name
        for other in snapshot.roots
        if other is not root and best(snapshot, other) is None
        for item in under(situation, other)
    }
    older = [item for item in snapshot.signer_secrets if item.meta.name not in kept | waiting]
    return tuple(sorted(older, key=lambda secret: secret.meta.name))


def _was_for(secret: KeySecret, root: Root) -> bool:
    assert secret.facts is not None
    return secret.facts.authority_key_id == root.facts.subject_key_id
