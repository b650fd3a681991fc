"""The words of the queue: what an item is called and how urgent it is.

Decides nothing; the order in which items run is decided in ``engine.dispatch``.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

Rank = tuple[float, int]
"""A place among re-issues: the lower, the sooner."""
UNRANKED: Final[Rank] = (0.0, 0)


class Key(NamedTuple):
    """The object that an item of work is about; ``namespace`` is empty for a cluster-scoped one."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}" if self.namespace else f"{self.kind}/{self.name}"


class Urgency(IntEnum):
    """How urgent an item is: the smaller, the sooner."""

    CONTROL = 0
    """A CA object, a policy, the bundle of one place: few, and never behind a limit on leaves."""
    SPREAD = 1
    """What changed everywhere at once, or a secondary asks for: many, so they take turns with leaves."""
    EXPIRING = 2
    """A leaf past 90 % of its life."""
    FIRST = 3
    """A leaf that has no certificate yet."""
    RENEWAL = 4
    """A leaf whose renewal is due."""
    REISSUE = 5
    """A leaf that a rotation moves to a new root."""


LEAF_URGENCIES = (Urgency.EXPIRING, Urgency.FIRST, Urgency.RENEWAL, Urgency.REISSUE)


class Item(NamedTuple):
    """One hand-out of the queue; it ends with exactly one ``done`` or ``retry``."""

    key: Key
    urgency: Urgency
    lane: str
    waited: float
    """Seconds between the first ``add`` and this hand-out."""
    attempt: int
    """Failures since the last success; 0 for a first try."""
