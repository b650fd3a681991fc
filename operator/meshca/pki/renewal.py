"""When a certificate is renewed: a moment that is the same whoever works it out.

Decides moments from validity and a uid alone, so that a restart finds the same ones; never whether the
renewal happens. Moments are whole seconds, because status keeps no more: a value that changed on its way
through status would be written again for ever.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

EARLIEST: Final = 0.60
LATEST: Final = 0.90
_SCALE: Final = 2**64


def renew_at(uid: str, not_before: datetime, not_after: datetime) -> datetime:
    """Return when a leaf is due, between 60 % and 90 % of its life, spread by a stable hash of ``uid``."""
    life = not_after - not_before
    return (not_before + life * (EARLIEST + (LATEST - EARLIEST) * _fraction(uid))).replace(microsecond=0)


def half_life(not_before: datetime, not_after: datetime) -> datetime:
    """Return the middle of a certificate's life, when a signer is due."""
    return (not_before + (not_after - not_before) / 2).replace(microsecond=0)


def spread(uid: str, window: timedelta) -> timedelta:
    """Return a delay of whole seconds in ``[0, window)`` that is always the same for one ``uid``."""
    return timedelta(seconds=int(window.total_seconds() * _fraction(uid)))


def _fraction(uid: str) -> float:
    return int.from_bytes(hashlib.sha256(uid.encode()).digest()[:8], "big") / _SCALE
