"""Which secondary clusters hold something up, in a sentence for a person.

Decides when a cluster that lags is worth a condition: a rotation that is followed within seconds is not.
Never decides what is held up: that is ``planning.rotation`` and ``planning.pruning``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from meshca.planning import pruning, secondaries

if TYPE_CHECKING:
    from datetime import datetime

    from meshca.planning.situation import Situation

BEHIND_AFTER: Final = timedelta(minutes=1)
"""How long a root was in the bundle when a cluster that lacks it is told of."""


def message(found: Situation) -> str:
    """Name the clusters that lack a root of the bundle or hold up a prune, and say how to go on; or ""."""
    told = [f"{name!r} does not hold root {root!r} yet" for name, root in _missing(found)]
    for root in found.snapshot.roots:
        decision = None if root.pruned else pruning.removal(found, root)
        holds = decision.secondaries if decision is not None else ()
        told += [f"{item.cluster!r} keeps root {root.meta.name!r}: it {item.why}" for item in holds]
    if not told:
        return ""
    return (
        f"secondary clusters: {'; '.join(told)}. See their conditions and FederatedCluster; one that does not"
        " come back is let go by un-registering it"
    )


def next_change(found: Situation) -> tuple[datetime, ...]:
    """Return when a cluster that lags now is told of (UTC)."""
    return tuple(since + BEHIND_AFTER for _, _, since in _lacking(found))


def _missing(found: Situation) -> list[tuple[str, str]]:
    now = found.snapshot.now
    return [(name, root) for name, root, since in _lacking(found) if now >= since + BEHIND_AFTER]


def _lacking(found: Situation) -> list[tuple[str, str, datetime]]:
    """Return cluster, CARoot, and since when that root was to be held."""
    known = {root.facts.fingerprint: root for root in found.trusted}
    result = []
    for secondary, fingerprints in secondaries.lacking(found.snapshot, known):
        for fingerprint in sorted(fingerprints):
            root = known[fingerprint]
            since = root.published_at or root.activated_at or found.snapshot.now
            joined = secondary.meta.created or since
            result.append((secondary.name, root.meta.name, max(since, joined)))
    return result
