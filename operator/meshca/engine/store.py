"""What the watches have told, in slim form and indexed by what a change affects.

Decides nothing. Belongs to the engine's event loop. Whatever shrinks trust is decided on fresh reads,
never on this.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from meshca.engine.bundles import Bundles
from meshca.engine.census import bundles_behind, take_census
from meshca.engine.misnamed import MisnamedLeaves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from meshca.planning.ca import Census
    from meshca.planning.leaf import SecretView
    from meshca.planning.naming import NameRule
    from meshca.planning.views import LeafView

Name = tuple[str, str]
K = TypeVar("K")
UNREAD = ""
"""Stands for the root of a leaf whose chain nobody has looked at since the start."""


@dataclass(frozen=True, slots=True)
class NamespaceView:
    """A namespace's labels, and whether it is being deleted."""

    labels: Mapping[str, str]
    terminating: bool


class Index(Generic[K]):
    """Which leaves have something in common; an entry without leaves takes no memory.

    In the order in which they came: that of a set would be another one in each process, and with it that
    of everything that is done for them.
    """

    def __init__(self) -> None:
        self._members: dict[K, dict[Name, None]] = {}

    def add(self, entry: K, name: Name) -> None:
        """Count a leaf in."""
        self._members.setdefault(entry, {}).setdefault(name)

    def discard(self, entry: K, name: Name) -> None:
        """Count a leaf out."""
        members = self._members.get(entry)
        if members is not None:
            members.pop(name, None)
            if not members:
                del self._members[entry]

    def get(self, entry: K) -> tuple[Name, ...]:
        """Return the leaves of an entry, safe to iterate while the index changes."""
        return tuple(self._members.get(entry, ()))

    def size(self, entry: K) -> int:
        """Count the leaves of an entry."""
        return len(self._members.get(entry, ()))

    def entries(self) -> tuple[K, ...]:
        """Return the entries that have leaves."""
        return tuple(self._members)


class Leaves:
    """Leaf views, by key, by configuration, by Secret, by account and by the root they need.

    ``on_root(configuration, root)`` is called when the leaves that need a root have become others,
    ``on_names(configuration)`` when those with a name that is no longer given have, ``on_life(namespace,
    configuration)`` when the first in a namespace has a certificate, or the last has one no more.
    """

    def __init__(self, secrets: Mapping[Name, SecretView]) -> None:
        self._secrets = secrets
        self.on_root: Callable[[str, str], None] | None = None
        self.on_names: Callable[[str], None] | None = None
        self.on_life: Callable[[str, str], None] | None = None
        self._misnamed = MisnamedLeaves()
        self._living: Counter[tuple[str, str]] = Counter()
        self._by_root: dict[str, Index[str]] = {}
        self._needs: dict[Name, tuple[str, str]] = {}
        self._views: dict[Name, LeafView] = {}
        self._by_configuration: Index[str] = Index()
        self._by_secret: Index[Name] = Index()
        self._by_account: Index[Name] = Index()
        self._being_written: dict[Name, str] = {}
        self.listing = False
        """Whether the first listing is under way, so that nobody knows which leaves there are not."""

    def __len__(self) -> int:
        return len(self._views)

    def __iter__(self) -> Iterator[LeafView]:
        return iter(tuple(self._views.values()))

    def get(self, key: Name) -> LeafView | None:
        """Return a view, or None."""
        return self._views.get(key)

    def put(self, view: LeafView) -> None:
        """Keep a view in the place of an older one."""
        known = self._views.get(view.key)
        if known is None or (known.spec is not view.spec and known.spec != view.spec):
            if known is not None:
                self._unlist(known)
                self._forget_name(known)
            namespace, spec = view.meta.namespace, view.spec
            self._by_configuration.add(spec.configuration, view.key)
            self._by_account.add((namespace, spec.service_account), view.key)
            if spec.secret_name:
                self._by_secret.add((namespace, spec.secret_name), view.key)
        self._views[view.key] = view
        self._count_life(known, view)
        self._count(view.key, self._need(view))
        same = known is not None and known.issued is view.issued and known.meta.deleting == view.meta.deleting
        if not same and self._misnamed.look(view):
            self._tell_names(view)

    def remove(self, key: Name) -> LeafView | None:
        """Forget a view and return it."""
        view = self._views.pop(key, None)
        if view is not None:
            self._unlist(view)
            self._count_life(view, None)
            self._count(key, None)
            self._forget_name(view)
        return view

    def expect_names(self, configuration: str, rule: NameRule) -> bool:
        """Take in by which rule a configuration gives names now, and return whether it is another one."""
        return self._misnamed.expect(configuration, rule, self.of_configuration(configuration))

    def _forget_name(self, view: LeafView) -> None:
        if self._misnamed.forget(view):
            self._tell_names(view)

    def _tell_names(self, view: LeafView) -> None:
        if self.on_names is not None:
            self.on_names(view.spec.configuration)

    def _count_life(self, before: LeafView | None, after: LeafView | None) -> None:
        lived, lives = _home(before), _home(after)
        if lived == lives:
            return
        for home, change in ((lived, -1), (lives, 1)):
            if home is None:
                continue
            self._living[home] += change
            first_or_last = self._living[home] == (1 if change > 0 else 0)
            if not self._living[home]:
                del self._living[home]
            if first_or_last and self.on_life is not None:
                self.on_life(*home)

    def _unlist(self, view: LeafView) -> None:
        namespace, spec = view.meta.namespace, view.spec
        self._by_configuration.discard(spec.configuration, view.key)
        self._by_account.discard((namespace, spec.service_account), view.key)
        self._by_secret.discard((namespace, spec.secret_name), view.key)

    def _need(self, view: LeafView) -> tuple[str, str] | None:
        """Return the configuration and root that a leaf counts under."""
        if view.meta.deleting:
            return None
        if view.issued is not None:
            return view.spec.configuration, view.issued.root
        # What is being written at this moment was read before it was written.
        known = view.worthless or self._being_written.get(view.key) == view.chain_digest
        return (view.spec.configuration, UNREAD) if view.chain and not known else None

    def _count(self, key: Name, after: tuple[str, str] | None) -> None:
        before = self._needs.pop(key, None)
        if after is not None:
            self._needs[key] = after
        if before == after:
            return
        if before is not None:
            self._roots(before[0]).discard(before[1], key)
        if after is not None:
            self._roots(after[0]).add(after[1], key)
        for need in (before, after):
            if need is not None and self.on_root is not None:
                self.on_root(*need)

    def _roots(self, configuration: str) -> Index[str]:
        return self._by_root.setdefault(configuration, Index())

    def unread(self, configuration: str) -> int:
        """Count the leaves whose chain nobody has looked at since the start; a listing counts as one."""
        return self._roots(configuration).size(UNREAD) + self.listing

    def census(self, configuration: str, root: str, now: datetime, *, bundle: str = "") -> Census:
        """Count the live leaves that need another root (fingerprint) than this one.

        ``bundle`` is the PEM text that managed Secrets have to hold, "" when they need not.
        """
        left = self.needing_others(configuration, root)
        behind = bundles_behind(self.of_configuration(configuration), self._secrets, bundle, now)
        unread = self.unread(configuration)
        misnamed = None if unread else self._misnamed.count(configuration, self._views, now)
        return take_census(left, now, unread=unread, behind=behind, misnamed=misnamed)

    def needing_others(self, configuration: str, root: str) -> Iterator[LeafView]:
        """Yield the leaves whose chain was read and leads to another root than this one (fingerprint)."""
        index = self._roots(configuration)
        for entry in index.entries():
            if entry not in (root, UNREAD):
                yield from (self._views[key] for key in index.get(entry))

    @contextmanager
    def writing(self, key: Name, chain_digest: str) -> Iterator[None]:
        """Expect the echo of a write of this chain, which the watch may tell before the answer comes."""
        self._being_written[key] = chain_digest
        try:
            yield
        finally:
            self._being_written.pop(key, None)

    def is_echo(self, view: LeafView) -> bool:
        """Tell, once, whether a view shows the chain that is being written at this moment."""
        if self._being_written.get(view.key) != view.chain_digest:
            return False
        del self._being_written[view.key]
        return True

    def of_configuration(self, configuration: str) -> Iterator[LeafView]:
        """Yield the leaves that name a configuration."""
        return (self._views[key] for key in self._by_configuration.get(configuration))

    def live_in(self, namespace: str, configuration: str) -> bool:
        """Tell whether any leaf of a configuration in a namespace has a certificate."""
        return (namespace, configuration) in self._living

    def of_secret(self, namespace: str, name: str) -> Iterator[LeafView]:
        """Yield the leaves that name a Secret."""
        return (self._views[key] for key in self._by_secret.get((namespace, name)))

    def of_account(self, namespace: str, name: str) -> Iterator[LeafView]:
        """Yield the leaves of a ServiceAccount."""
        return (self._views[key] for key in self._by_account.get((namespace, name)))

    def states(self, configuration: str) -> Mapping[str, int]:
        """Count the leaves of a configuration by state; an empty state counts as Pending."""
        return Counter(view.state or "Pending" for view in self.of_configuration(configuration))


def _home(view: LeafView | None) -> tuple[str, str] | None:
    """Return where a leaf that has a certificate lives: namespace and configuration."""
    return (view.meta.namespace, view.spec.configuration) if view is not None and view.lives else None


class Store:
    """Everything watched."""

    def __init__(self) -> None:
        self.namespaces: dict[str, NamespaceView] = {}
        self.accounts: set[Name] = set()
        self.secrets: dict[Name, SecretView] = {}
        self.leaves = Leaves(self.secrets)
        self.bundles = Bundles()
        self.configurations: dict[str, str] = {}
        """uid by name of each CAConfiguration."""
