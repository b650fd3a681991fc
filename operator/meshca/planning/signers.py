"""Which signer signs, when it is renewed, and which ones a newer one has replaced.

Decides by certificates alone. A signer is renewed at half of its life, or early when less is left than
a leaf may want; but only if the new one would live at least a quarter longer than the old one has left
and the last one is at least a minute old, so that a root near its end never causes a loop of signers.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature

from meshca.pki.profile import CA_BACKDATE
from meshca.pki.renewal import half_life

if TYPE_CHECKING:
    from datetime import datetime

    from meshca.planning.ca import CASnapshot, KeySecret, Root
    from meshca.planning.situation import Situation

MINIMUM_GAIN = 1.25
MINIMUM_INTERVAL = timedelta(minutes=1)


def best(snapshot: CASnapshot, root: Root | None) -> KeySecret | None:
    """Return the newest usable signer under a root that has not expired."""
    if root is None:
        return None
    found = [secret for secret in snapshot.signer_secrets if _signs_under(secret, root, snapshot.now)]
    return max(found, key=_age_order, default=None)


def _age_order(secret: KeySecret) -> tuple[datetime, str]:
    assert secret.facts is not None
    return (secret.facts.not_before, secret.meta.name)


def _signs_under(secret: KeySecret, root: Root, now: datetime) -> bool:
    if not secret.usable or secret.certificate is None or secret.facts is None:
        return False
    if secret.facts.not_after <= now:
        return False
    try:
        secret.certificate.verify_directly_issued_by(root.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def renew_at(situation: Situation) -> datetime | None:
    """Return when the present signer is to be renewed: half-life, or when a leaf would be cut short."""
    if situation.signer is None or situation.signer.facts is None:
        return None
    facts = situation.signer.facts
    half = half_life(facts.not_before, facts.not_after)
    return min(half, facts.not_after - situation.desired.leaf_max_ttl)


def is_due(situation: Situation) -> bool:
    """Return whether a signer is to be made now."""
    now, root = situation.snapshot.now, situation.root
    if root is None or root.facts.not_after <= now:
        return False
    moment = renew_at(situation)
    if moment is None:
        return True
    assert situation.signer is not None
    assert situation.signer.facts is not None
    old = situation.signer.facts
    new_end = min(now + situation.desired.intermediate_ttl, root.facts.not_after)
    gains = (new_end - now) >= (old.not_after - now) * MINIMUM_GAIN
    rested = now >= old.not_before + CA_BACKDATE + MINIMUM_INTERVAL
    return now >= moment and gains and rested


def next_look(situation: Situation) -> datetime | None:
    """Return when the signer is to be looked at again."""
    if situation.settled is None or situation.signer is None or situation.signer.facts is None:
        return None
    moment = renew_at(situation)
    assert moment is not None
    if moment > situation.snapshot.now:
        return moment
    return situation.signer.facts.not_after


def replaced(situation: Situation) -> tuple[KeySecret, ...]:
    """Return signers under the active root that a committed newer one has replaced, oldest first."""
    root, signer = situation.root, situation.signer
    if root is None or signer is None or situation.active_name != root.meta.name:
        return ()
    older = [
        secret
        for secret in situation.snapshot.signer_secrets
        if secret.usable and secret.facts is not None and secret.meta.name != signer.meta.name
        if secret.facts.authority_key_id == root.facts.subject_key_id
    ]
    return tuple(sorted(older, key=_age_order))
