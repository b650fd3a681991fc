"""Which leaves a rotation still has to reach, and in which order they get their turn.

Decides from verified facts alone: the root that a leaf needs is the one that its signer was issued under.
Never decides when a turn comes; that is the queue's pace.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from meshca.planning.authority import Authority, Unavailable

if TYPE_CHECKING:
    from datetime import datetime

    from meshca.planning.leaf import SecretView
    from meshca.planning.views import LeafView

ROTATE: Final = "Rotate"


def rank(leaf: LeafView) -> tuple[float, int]:
    """Return a leaf's place in a rotation: the first to expire first, ties by a stable hash of the uid."""
    end = leaf.issued.not_after.timestamp() if leaf.issued else 0.0
    return end, int.from_bytes(hashlib.sha256(leaf.meta.uid.encode()).digest()[:8])


def is_elsewhere(leaf: LeafView, authority: Authority | Unavailable) -> bool:
    """Tell whether a leaf was issued under another root than the active one, older or given up."""
    return isinstance(authority, Authority) and leaf.issued is not None and leaf.issued.root != authority.root


def is_told(leaf: LeafView) -> bool:
    """Tell whether the holder of a leaf reads that it must ask again."""
    return leaf.state == ROTATE and leaf.ready == "True"


def is_signal_due(leaf: LeafView, authority: Authority | Unavailable, now: datetime) -> bool:
    """Tell whether the holder of a Manual leaf must be told to ask again, or that it need not any more."""
    live = leaf.issued is not None and now < leaf.issued.not_after
    return live and isinstance(authority, Authority) and is_elsewhere(leaf, authority) != is_told(leaf)


def lacks_bundle(leaf: LeafView, secret: SecretView | None, authority: Authority | Unavailable) -> bool:
    """Tell whether the Secret of a leaf has to hold the present bundle and does not."""
    return (
        isinstance(authority, Authority)
        and authority.bundle_in_secrets
        and leaf.spec.managed
        and secret is not None
        and secret.owner_uid == leaf.meta.uid
        and secret.bundle != bundle_digest(authority.bundle)
    )


@lru_cache(maxsize=16)
def bundle_digest(bundle: str) -> str:
    """Return the key under which the ``ca.crt`` (PEM text) of a managed Secret is remembered."""
    return hashlib.sha256(bundle.encode()).hexdigest()
