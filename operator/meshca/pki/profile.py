"""Lifetimes of each kind of certificate, checked once when they are built.

Issuing code sees only profiles that stand inside the bounds of the API. Never decides on keys or names.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from meshca.errors import DeniedError, InvalidError

HOUR: Final = timedelta(hours=1)
LEAF_TTL_MIN: Final = HOUR
LEAF_TTL_MAX: Final = timedelta(days=365)
SIGNER_TTL_MIN: Final = 3 * HOUR
SIGNER_LEAF_RATIO: Final = 3
# 10,000 years end with the GeneralizedTime of RFC 5280 section 4.1.2.5; a century is plenty for a root.
ROOT_TTL_MAX: Final = timedelta(days=36525)
# Peers whose clock is slow by less than this accept a certificate as soon as it exists.
CA_BACKDATE: Final = HOUR
LEAF_BACKDATE: Final = timedelta(minutes=5)
# A leaf that would live less than this part of what was asked is not worth making.
MIN_REMAINING: Final = 0.10


def hours(value: timedelta) -> str:
    """Write a duration for a person, as Go does: ``72h``, ``1h30m``, ``90s`` as ``1m30s``."""
    seconds = int(value.total_seconds())
    parts = ((seconds // 3600, "h"), (seconds % 3600 // 60, "m"), (seconds % 60, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


@dataclass(frozen=True, slots=True)
class RootProfile:
    """How long a generated root lives; ``InvalidError`` under 3 h or over a century."""

    ttl: timedelta

    def __post_init__(self) -> None:
        _between("root.ttl", self.ttl, SIGNER_TTL_MIN, ROOT_TTL_MAX)


@dataclass(frozen=True, slots=True)
class SignerProfile:
    """How long a signer lives; ``InvalidError`` under 3 h or over a century."""

    ttl: timedelta

    def __post_init__(self) -> None:
        _between("intermediate.ttl", self.ttl, SIGNER_TTL_MIN, ROOT_TTL_MAX)


@dataclass(frozen=True, slots=True)
class LeafProfile:
    """How long a leaf lives by default and at most; ``InvalidError`` outside 1 h to 365 d or crossed."""

    ttl: timedelta
    max_ttl: timedelta

    def __post_init__(self) -> None:
        _between("leaf.ttl", self.ttl, LEAF_TTL_MIN, LEAF_TTL_MAX)
        _between("leaf.maxTTL", self.max_ttl, self.ttl, LEAF_TTL_MAX)

    def choose(self, wanted: timedelta | None) -> timedelta:
        """Return the lifetime a requester gets; ``DeniedError`` outside 1 h to ``max_ttl``."""
        if wanted is None:
            return self.ttl
        if wanted > self.max_ttl:
            raise DeniedError(f"ttl {hours(wanted)} is more than the allowed {hours(self.max_ttl)}")
        if wanted < LEAF_TTL_MIN:
            raise DeniedError(f"ttl {hours(wanted)} is less than the allowed {hours(LEAF_TTL_MIN)}")
        return wanted


@dataclass(frozen=True, slots=True)
class Profiles:
    """The lifetimes of one configuration, each kind fitting into the one above it."""

    root: RootProfile
    signer: SignerProfile
    leaf: LeafProfile

    def __post_init__(self) -> None:
        least = SIGNER_LEAF_RATIO * self.leaf.max_ttl
        if self.signer.ttl < least:
            raise InvalidError(
                f"intermediate.ttl {hours(self.signer.ttl)} is less than {hours(least)}, 3 times leaf.maxTTL"
            )
        if self.root.ttl < self.signer.ttl:
            raise InvalidError(
                f"root.ttl {hours(self.root.ttl)} is less than intermediate.ttl {hours(self.signer.ttl)}"
            )


def _between(field: str, value: timedelta, least: timedelta, most: timedelta) -> None:
    if value < least:
        raise InvalidError(f"{field} {hours(value)} is less than {hours(least)}")
    if value > most:
        raise InvalidError(f"{field} {hours(value)} is more than {hours(most)}")
