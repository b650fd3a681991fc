"""The situations of a rotation in which one peer looks at another one's certificate, and what must come out.

Decides, without any certificate, which chain meets which bundle and whether a path exists: a chain is good
if it reaches a root of the bundle that has not ended, over certificates that have not ended. Where a
validator is known to decide otherwise, that stands here too, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Final

OLD: Final = "old"
NEW: Final = "new"
OLDER: Final = "older"
ENDED: Final = "ended"
"""A root before ``NEW`` whose life is over, and with it that of the cross-certificate it made."""
OLD_BY_NEW: Final = "old by new"
OLD_BY_OLDER: Final = "old by older"
"""The cross-certificate of the rotation before: behind the one by ``OLD`` it prolongs the same path."""
SIGNER: Final = "the signer"

MAIN_KINDS: Final = ("ECDSA 256", "RSA 2048", "Ed25519")
OTHER_KINDS: Final = ("ECDSA 224", "ECDSA 384", "ECDSA 521")
LEAF_KINDS: Final = ("ECDSA 256", "ECDSA 384", "ECDSA 521", "RSA 2048", "Ed25519")
USUAL: Final = MAIN_KINDS[0]

OPENSSL: Final = "OpenSSL"
HANDSHAKE: Final = "Python ssl"
GO: Final = "Go"
GNUTLS: Final = "GnuTLS"
ENVOY: Final = "Envoy"
ENVOY_SPIFFE: Final = "Envoy SPIFFE"
VALIDATORS: Final = (OPENSSL, HANDSHAKE, GO, GNUTLS, ENVOY, ENVOY_SPIFFE)


@dataclass(frozen=True, slots=True)
class Pair:
    """The kinds of key of the CA before and after a rotation."""

    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.old} → {self.new}"


@dataclass(frozen=True, slots=True)
class Situation:
    """A chain and a bundle, by the names of roots; ``crosses`` made the new root's cross-certificates.

    ``leaf`` is the root that the leaf's signer is under; the cross-certificates are sent in their order.
    """

    leaf: str
    crosses: tuple[str, ...]
    bundle: tuple[str, ...]

    @property
    def accepted(self) -> bool:
        """Tell whether a path exists."""
        reached = {SIGNER, self.leaf, *(self.crosses if self.leaf == NEW else (OLD_BY_NEW,))}
        if OLD_BY_OLDER in reached:
            reached.add(OLDER)
        return not (reached - {ENDED}).isdisjoint(self.bundle)

    def __str__(self) -> str:
        return f"{self.served} | {', '.join(self.bundle)}"

    @property
    def served(self) -> str:
        """Say what is served: the leaf with its signer, and the cross-certificates in their order."""
        names = (name if name == OLD_BY_OLDER else f"new by {name}" for name in self.crosses)
        return " + ".join((f"{self.leaf} leaf", *names))


QUADRANTS: Final = tuple(
    Situation(leaf, crosses, bundle)
    for leaf, crosses, bundle in product((OLD, NEW), ((), (OLD,)), ((OLD,), (OLD, NEW), (NEW,)))
)
TWO_CROSSES: Final = tuple(
    Situation(NEW, crosses, bundle)
    for crosses in ((OLD, OLDER), (OLDER, OLD))
    for bundle in ((OLDER,), (OLD,), (NEW,), (OLDER, OLD, NEW))
)
ONE_PATH: Final = tuple(
    Situation(NEW, (OLD, OLD_BY_OLDER), bundle)
    for bundle in ((OLDER,), (OLD,), (NEW,), (OLDER, OLD), (OLDER, OLD, NEW))
)
BOTH: Final = tuple(
    Situation(NEW, (OLD, OLDER, OLD_BY_OLDER), bundle)
    for bundle in ((OLDER,), (OLD,), (NEW,), (OLDER, OLD, NEW))
)
ENDED_CROSSES: Final = (
    Situation(NEW, (ENDED,), (NEW,)),
    Situation(NEW, (ENDED,), (ENDED, NEW)),
    Situation(NEW, (ENDED,), (ENDED,)),
    Situation(NEW, (ENDED, OLD), (OLD,)),
    Situation(NEW, (OLD, ENDED), (OLD,)),
    Situation(NEW, (ENDED, OLD), (ENDED, OLD)),
)
# Bundles that meshca never publishes: here a validator's idea of a trust anchor decides.
ODD_BUNDLES: Final = (
    Situation(OLD, (), (NEW, OLD_BY_NEW)),
    Situation(OLD, (), (OLD_BY_NEW,)),
    Situation(NEW, (), (SIGNER,)),
)
SECTIONS: Final = {
    "quadrants": QUADRANTS,
    "two": TWO_CROSSES,
    "path": ONE_PATH,
    "both": BOTH,
    "ended": ENDED_CROSSES,
    "odd": ODD_BUNDLES,
}


_FIRST_ONLY: Final = frozenset(VALIDATORS) - {GO}
_SELF_SIGNED_ONLY: Final = frozenset({OPENSSL, HANDSHAKE, ENVOY_SPIFFE})
_FIRST_THOUGH_ENDED: Final = frozenset({GNUTLS, ENVOY, ENVOY_SPIFFE})
REFUSED_BY: Final[dict[Situation, frozenset[str]]] = {
    # Of several certificates with one subject these follow the first and never come back.
    Situation(NEW, (OLD, OLDER), (OLDER,)): _FIRST_ONLY,
    Situation(NEW, (OLDER, OLD), (OLD,)): _FIRST_ONLY,
    # OpenSSL looks for one that is still valid, these do not.
    Situation(NEW, (ENDED, OLD), (OLD,)): _FIRST_THOUGH_ENDED,
    Situation(NEW, (ENDED, OLD), (ENDED, OLD)): _FIRST_THOUGH_ENDED,
    # GnuTLS climbs to the end of what was sent before it looks for what it trusts.
    Situation(NEW, (OLD, OLD_BY_OLDER), (NEW,)): frozenset({GNUTLS}),
    Situation(NEW, (OLD, OLDER, OLD_BY_OLDER), (OLD,)): frozenset({GNUTLS}),
    Situation(OLD, (), (OLD_BY_NEW,)): _SELF_SIGNED_ONLY,
    Situation(NEW, (), (SIGNER,)): _SELF_SIGNED_ONLY,
}
"""Who refuses although a path exists."""
LEAF_KEYS_REFUSED: Final = {kind: frozenset({ENVOY, ENVOY_SPIFFE}) for kind in ("ECDSA 521", "Ed25519")}
"""Kinds of leaf keys that a validator does not take from a client."""


def expected(validator: str, situation: Situation) -> bool:
    """Tell whether this validator accepts: a path exists, and it is known to find it."""
    return situation.accepted and validator not in REFUSED_BY.get(situation, ())


def settled(validator: str, situation: Situation) -> bool:
    """Tell whether every pair gives the same; GnuTLS refuses or not by how names fall into its buckets."""
    return validator != GNUTLS or situation not in REFUSED_BY


def pairs() -> tuple[Pair, ...]:
    """Return every pair of the main kinds, then the other kinds before and after the usual one."""
    main = [Pair(old, new) for old, new in product(MAIN_KINDS, repeat=2)]
    others = [pair for kind in OTHER_KINDS for pair in (Pair(USUAL, kind), Pair(kind, USUAL))]
    return (*main, *others)
