"""What the watches have told, in slim form and indexed by what a change affects.

Decides nothing. Belongs to the engine's event loop. Whatever shrinks trust is decided on fresh reads,
never on this.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from meshca.planning.leaf import SecretView
    from meshca.planning.views import LeafView

Name = tuple[str, str]
K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class NamespaceView:
    """A namespace's labels, and whether it is being deleted."""

    labels: Mapping[str, str]
    terminating: bool


@dataclass(frozen=True, slots=True)
class BundleView:
    """A published bundle as watched: whose it is, and the digest of the text it holds."""

    uid: str
    resource_version: str
    owner: str
    digest: str


class Index(Generic[K]):
    """Which leaves have something in common; an entry without leaves takes no memory."""

    def __init__(self) -> None:
        self._members: dict[K, set[Name]] = {}

    def add(self, entry: K, name: Name) -> None:
        """Count a leaf in."""
        self._members.setdefault(entry, set()).add(name)

    def discard(self, entry: K, name: Name) -> None:
        """Count a leaf out."""
        members = self._members.get(entry)
        if members is not None:
            members.discard(name)
            if not members:
                del self._members[entry]

    def get(self, entry: K) -> tuple[Name, ...]:
        """Return the leaves of an entry, safe to iterate while the index changes."""
        return tuple(self._members.get(entry, ()))


class Leaves:
    """Leaf views, by key, by configuration, by Secret and by account."""

    def __init__(self) -> None:
        self._views: dict[Name, LeafView] = {}
        self._by_configuration: Index[str] = Index()
        self._by_secret: Index[Name] = Index()
        self._by_account: Index[Name] = Index()
        self._being_written: dict[Name, str] = {}

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
        if known is None or known.spec != view.spec:
            self.remove(view.key)
            namespace, spec = view.meta.namespace, view.spec
            self._by_configuration.add(spec.configuration, view.key)
            self._by_account.add((namespace, spec.service_account), view.key)
            if spec.secret_name:
                self._by_secret.add((namespace, spec.secret_name), view.key)
        self._views[view.key] = view

    def remove(self, key: Name) -> LeafView | None:
        """Forget a view and return it."""
        view = self._views.pop(key, None)
        if view is not None:
            namespace, spec = view.meta.namespace, view.spec
            self._by_configuration.discard(spec.configuration, key)
            self._by_account.discard((namespace, spec.service_account), key)
            self._by_secret.discard((namespace, spec.secret_name), key)
        return view

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

    def of_secret(self, namespace: str, name: str) -> Iterator[LeafView]:
        """Yield the leaves that name a Secret."""
        return (self._views[key] for key in self._by_secret.get((namespace, name)))

    def of_account(self, namespace: str, name: str) -> Iterator[LeafView]:
        """Yield the leaves of a ServiceAccount."""
        return (self._views[key] for key in self._by_account.get((namespace, name)))

    def states(self, configuration: str) -> Mapping[str, int]:
        """Count the leaves of a configuration by state; an empty state counts as Pending."""
        return Counter(view.state or "Pending" for view in self.of_configuration(configuration))


class Store:
    """Everything watched."""

    def __init__(self) -> None:
        self.leaves = Leaves()
        self.namespaces: dict[str, NamespaceView] = {}
        self.accounts: set[Name] = set()
        self.secrets: dict[Name, SecretView] = {}
        self.bundles: dict[Name, BundleView] = {}
        self.configurations: dict[str, str] = {}
        """uid by name of each CAConfiguration."""
