"""What each configuration issues with now, and what it publishes: the hand-over between reconcilers.

The configuration reconciler writes, leaf and bundle reconcilers read. Holds the loaded signing keys, in
memory only. Decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from meshca.api.v1alpha1.conditions import Reason
from meshca.planning.authority import Admission, Authority, Unavailable
from meshca.planning.secrets import LoadedSecret, load_ca_secret
from meshca.planning.views import Meta

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshca.api.v1alpha1.selector import Selector
    from meshca.pki.keys import PrivateKey
    from meshca.planning.signingroot import SigningRoot


JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class BundleWish:
    """What is to be published where; ``pem`` is the bundle's text."""

    configuration: str
    name: str
    pem: str
    digest: str
    namespaces: Selector
    cluster_trust_bundle: bool


@dataclass(slots=True)
class Board:
    """How publication of one configuration's bundle stands, by namespace ("" = ClusterTrustBundle)."""

    current: set[str] = field(default_factory=set)
    behind: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    complete: bool = False
    """Whether every place was looked at since the start."""
    digest: str = ""
    """The bundle that all this is about."""
    read_back: bool = False
    """Whether every place was listed consistently since the last one was written; ``behind`` names those
    that did not hold it then."""

    def note(self, place: str, refusal: str | None) -> bool:
        """Record one place (None = it holds the bundle) and return whether that changed anything."""
        before = (place in self.current, self.refused.get(place))
        self.read_back = self.read_back and refusal is None and place not in self.behind
        self.behind.discard(place)
        if refusal is None:
            self.refused.pop(place, None)
            self.current.add(place)
        else:
            self.current.discard(place)
            self.refused[place] = refusal
        first = self._look_over()
        return first or before != (place in self.current, self.refused.get(place))

    def expect(self, place: str) -> None:
        """Count a place as behind until it is noted."""
        self.read_back = False
        self.current.discard(place)
        if place not in self.refused:
            self.behind.add(place)

    def forget(self, place: str) -> bool:
        """Drop a place and return whether it was known."""
        known = place in self.current or place in self.behind or place in self.refused
        self.current.discard(place)
        self.behind.discard(place)
        self.refused.pop(place, None)
        return self._look_over() or known

    def _look_over(self) -> bool:
        """Return whether the last place was looked at for the first time just now."""
        if self.complete or self.behind:
            return False
        self.complete = True
        return True


class SigningKeys:
    """The CA Secrets of each configuration as they were read last, keys in memory only."""

    def __init__(self) -> None:
        self._loaded: dict[str, dict[str, LoadedSecret]] = {}

    def load(self, configuration: str, bodies: Iterable[JSON]) -> tuple[LoadedSecret, ...]:
        """Read the present Secrets of a configuration; one whose version is known is not read again."""
        before = self._loaded.get(configuration, {})
        now: dict[str, LoadedSecret] = {}
        for body in bodies:
            meta = Meta.of(body)
            known = before.get(meta.name)
            same = known is not None and known.view.meta == meta
            now[meta.name] = known if same and known is not None else load_ca_secret(body)
        self._loaded[configuration] = now
        return tuple(now.values())

    def get(self, configuration: str, secret: str) -> PrivateKey | None:
        """Return the key in a Secret, or None when it is missing or unusable."""
        found = self._loaded.get(configuration, {}).get(secret)
        return found.key if found is not None else None

    def forget(self, configuration: str) -> None:
        """Drop the keys of a configuration."""
        self._loaded.pop(configuration, None)


class Authorities:
    """The present authority and bundle wish of every configuration, and the state of admission."""

    def __init__(self) -> None:
        self._authorities: dict[str, Authority | Unavailable] = {}
        self.signing_roots: dict[str, SigningRoot] = {}
        self.bundles: dict[str, BundleWish] = {}
        self.boards: dict[str, Board] = {}
        self.keys = SigningKeys()
        self.admission = Admission(
            in_force=False, since=None, message="the admission policy was not read yet"
        )
        self.intermediates_admission = self.admission

    def get(self, configuration: str) -> Authority | Unavailable:
        """Return what a configuration issues with, or why it does not."""
        return self._authorities.get(configuration) or Unavailable(
            Reason.CONFIGURATION_NOT_FOUND,
            f"CAConfiguration {configuration!r} does not exist; create it or name another in"
            " spec.caConfigurationName",
        )

    def set(self, configuration: str, authority: Authority | Unavailable) -> bool:
        """Keep an authority and return whether it differs from the one before."""
        changed = self._authorities.get(configuration) != authority
        self._authorities[configuration] = authority
        return changed

    def set_signing_root(self, configuration: str, root: SigningRoot | None) -> bool:
        """Keep what signers of secondaries are granted with, and return whether it is another."""
        changed = self.signing_roots.get(configuration) != root
        if root is None:
            self.signing_roots.pop(configuration, None)
        else:
            self.signing_roots[configuration] = root
        return changed

    def forget(self, configuration: str) -> None:
        """Drop a configuration that is gone; its published bundles stay."""
        self._authorities.pop(configuration, None)
        self.signing_roots.pop(configuration, None)
        self.bundles.pop(configuration, None)
        self.boards.pop(configuration, None)
        self.keys.forget(configuration)

    def board(self, configuration: str) -> Board:
        """Return the publication board of a configuration."""
        return self.boards.setdefault(configuration, Board())
