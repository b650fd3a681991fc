"""What a CASnapshot amounts to, as data: the wish in force, the roots and what each is, the signer.

Decides nothing; ``planning.assess`` reads a snapshot into it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshca.pki.bundle import Bundle
    from meshca.pki.identity import TrustDomain
    from meshca.planning.ca import CASnapshot, KeySecret, Root
    from meshca.planning.desired import Desired
    from meshca.planning.primary import PrimaryFacts


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the present spec is not in force, or why nothing is written at all."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Wish:
    """Which root the configuration asks for: its desired identity with and without its renewal number."""

    identity: str
    base: str
    imported: bool
    renewal: int = 0


@dataclass(frozen=True, slots=True)
class Primary:
    """What a secondary makes of what its link tells.

    ``facts`` are what the primary told last and may be followed, ``doubt`` why it is not followed;
    ``answering`` whether it answers at this moment. ``active_root`` is the fingerprint of the root that is
    active there, as far as anybody knows.
    """

    facts: PrimaryFacts | None = None
    doubt: Problem | None = None
    answering: bool = False
    active_root: str = ""

    def lists(self, root: Root) -> bool | None:
        """Tell whether the primary has a root in its bundle; None when it does not answer."""
        if self.facts is None or not self.answering:
            return None
        return self.facts.root(root.facts.fingerprint) is not None


@dataclass(frozen=True, slots=True)
class Situation:
    """A snapshot, read.

    ``settled`` is the wish in force: the present spec, or the last good one while the present one has
    a ``problem``; ``stopped`` means that nothing may be written for this configuration.
    """

    snapshot: CASnapshot
    settled: Desired | None
    problem: Problem | None
    stopped: bool
    trust_domain: TrustDomain
    maybe_wish: Wish | None
    active_name: str
    root: Root | None
    root_secret: KeySecret | None
    signer: KeySecret | None
    bundle: Bundle
    trusted: tuple[Root, ...] = ()
    target: Root | None = None
    """The root that a rotation moves to, once it exists."""
    make: Wish | None = None
    """The root that a rotation has to make first."""
    hold: Problem | None = None
    """Why a rotation that is asked for does not go on."""
    primary: Primary | None = None
    """Set in a secondary."""

    @property
    def desired(self) -> Desired:
        """Return the wish in force; only asked for when there is one."""
        assert self.settled is not None
        return self.settled

    @property
    def wish(self) -> Wish:
        """Return the root asked for; only asked for when there is one."""
        assert self.maybe_wish is not None
        return self.maybe_wish


def secret_of(snapshot: CASnapshot, root: Root | None) -> KeySecret | None:
    """Return the usable Secret with the key of a root, or None."""
    if root is None:
        return None
    for secret in snapshot.root_secrets:
        if secret.usable and secret.facts and secret.facts.fingerprint == root.facts.fingerprint:
            return secret
    return None
