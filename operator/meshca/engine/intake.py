"""What a change that was watched means: it updates the store and queues the keys that depend on it.

Decides which keys to look at and how urgently; never what is done about them. Called from watch
handlers, so nothing here waits. Bodies may hold anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.engine.bundles import bundle_view
from meshca.engine.federation import FederationIntake
from meshca.engine.store import UNREAD, NamespaceView
from meshca.engine.work import Key, Urgency
from meshca.planning.authority import Authority
from meshca.planning.leaf import RENEW, awaits_turn, is_of_the_future, is_urgent
from meshca.planning.moves import rank
from meshca.planning.naming import NameRule
from meshca.planning.secrets import secret_view
from meshca.planning.views import Meta, labels_of, leaf_view, newer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from meshca.clock import Clock
    from meshca.engine.authorities import Authorities, BundleWish
    from meshca.engine.queue import WorkQueue
    from meshca.engine.store import Store
    from meshca.engine.timers import Timers
    from meshca.planning.views import LeafView

CONFIGURATION = "configuration"
LEAF = "leaf"
BUNDLE = "bundle"
ADMISSION = "admission"
ADMISSION_KEY = Key(ADMISSION, "", "policy")
DELETED = "DELETED"
PUBLICATION_DELAY = 1.0
"""Seconds over which changes of the bundle's places are gathered into one status write."""
CENSUS_DELAY = 1.0
"""Seconds over which moved leaves are gathered into one status write."""
CENSUS_RATE = 10_000
"""Leaves for each further second: a census looks at every leaf that is left."""


def configuration_key(name: str) -> Key:
    """Return the key of a CAConfiguration."""
    return Key(CONFIGURATION, "", name)


def leaf_key(namespace: str, name: str) -> Key:
    """Return the key of a LeafCertificateRequest."""
    return Key(LEAF, namespace, name)


def bundle_key(namespace: str, configuration: str) -> Key:
    """Return the key of one place that a bundle is published to; "" is the ClusterTrustBundle."""
    return Key(BUNDLE, namespace, configuration)


class Intake:
    """One method for each watched kind; ``event`` is ADDED, MODIFIED, DELETED, or "" for a listed object."""

    def __init__(
        self, store: Store, queue: WorkQueue, authorities: Authorities, timers: Timers, clock: Clock
    ) -> None:
        self._store = store
        self._queue = queue
        self._authorities = authorities
        self._timers = timers
        self._clock = clock
        store.leaves.on_root = self._root_changed
        store.leaves.on_names = self.moved
        store.leaves.on_life = self._life_changed
        self.federation = FederationIntake(queue, timers, self.moved)

    def configuration(self, event: str, body: Mapping[str, Any]) -> None:
        """Take in a CAConfiguration."""
        meta = Meta.of(body)
        if event == DELETED:
            # Kopf keeps the order of each uid only: a successor of that name may be known already.
            if self._store.configurations.get(meta.name) == meta.uid:
                del self._store.configurations[meta.name]
            for other in self._store.configurations:
                # It may have waited for this one's trust domain or bundle name.
                self._queue.add(configuration_key(other), Urgency.CONTROL)
        else:
            self._store.configurations[meta.name] = meta.uid
        self._queue.add(configuration_key(meta.name), Urgency.CONTROL)

    def root(self, _event: str, body: Mapping[str, Any]) -> None:
        """Take in a CARoot: its configuration is looked at again."""
        spec = body.get("spec")
        name = spec.get("caConfigurationName") if isinstance(spec, dict) else None
        if isinstance(name, str) and name in self._store.configurations:
            self._queue.add(configuration_key(name), Urgency.CONTROL)

    def ca_secret(self, event: str, body: Mapping[str, Any]) -> None:
        """Take in a Secret of the operator's namespace: a CA Secret, or one that a configuration imports."""
        name = labels_of(body).get(names.LABEL_CONFIGURATION)
        if name:
            self._queue.add(configuration_key(name), Urgency.CONTROL)
            return
        if event:
            for configuration in self._store.configurations:
                self._queue.add(configuration_key(configuration), Urgency.CONTROL)

    def leaf(self, event: str, body: Mapping[str, Any]) -> None:
        """Take in a LeafCertificateRequest; one whose version is known already changes nothing."""
        meta = Meta.of(body)
        known = self._store.leaves.get((meta.namespace, meta.name))
        if event == DELETED:
            if known is None or known.meta.uid == meta.uid:
                self.leaf_gone(meta.namespace, meta.name)
            return
        if known is not None and _is_old(event, meta.resource_version, known.meta.resource_version):
            return
        if known is not None and known.meta.uid != meta.uid:
            known = None
        view = leaf_view(body, known)
        self._store.leaves.put(view)
        # Whoever writes goes on with it; another look would cost a turn and find nothing to do.
        if not self._store.leaves.is_echo(view):
            self.queue_leaf(view)

    def leaf_gone(self, namespace: str, name: str) -> None:
        """Forget a leaf; requests that waited for its Secret are looked at again."""
        view = self._store.leaves.remove((namespace, name))
        key = leaf_key(namespace, name)
        self._timers.cancel(key)
        self._queue.discard(key)
        if view is not None and view.spec.secret_name:
            self._queue_all(self._store.leaves.of_secret(namespace, view.spec.secret_name))

    def queue_leaf(self, view: LeafView) -> None:
        """Queue a leaf with the urgency that its state gives it."""
        if view.issued is None and not view.chain:
            urgency = Urgency.FIRST
        elif is_urgent(view, self._clock.now()):
            urgency = Urgency.EXPIRING
        else:
            urgency = Urgency.RENEWAL
        self._queue.add(leaf_key(*view.key), urgency, view.spec.configuration)

    def queue_move(self, view: LeafView) -> None:
        """Queue a leaf for its turn in a rotation."""
        self._queue.add(leaf_key(*view.key), Urgency.REISSUE, view.spec.configuration, rank(view))

    def managed_secret(self, event: str, body: Mapping[str, Any]) -> None:
        """Take in a managed Secret; older news than what was written here is ignored unless listed."""
        meta = Meta.of(body)
        place = (meta.namespace, meta.name)
        known = self._store.secrets.get(place)
        if event == DELETED:
            if known is not None and known.uid != meta.uid:
                return
            self._store.secrets.pop(place, None)
        else:
            view = secret_view(body)
            same = known if known is not None and known.uid == view.uid else None
            if same is not None and _is_old(event, view.resource_version, same.resource_version):
                return
            self._store.secrets[place] = view
        self._queue_all(self._store.leaves.of_secret(*place))

    def namespace(self, event: str, body: Mapping[str, Any]) -> None:
        """Take in a namespace: the bundles that it is to hold are looked at."""
        meta = Meta.of(body)
        before = self._store.namespaces.get(meta.name)
        if event == DELETED:
            self._store.namespaces.pop(meta.name, None)
        else:
            self._store.namespaces[meta.name] = NamespaceView(labels_of(body), meta.deleting)
        if before != self._store.namespaces.get(meta.name):
            for configuration in self._authorities.bundles:
                self._queue.add(bundle_key(meta.name, configuration), Urgency.CONTROL)

    def account(self, event: str, body: Mapping[str, Any]) -> None:
        """Take in a ServiceAccount: a new one lets leaves go on that waited for it."""
        meta = Meta.of(body)
        place = (meta.namespace, meta.name)
        if event == DELETED:
            self._store.accounts.discard(place)
        elif place not in self._store.accounts:
            self._store.accounts.add(place)
            self._queue_all(
                view
                for view in self._store.leaves.of_account(*place)
                if view.issued is None or view.state == RENEW
            )

    def bundle(self, event: str, body: Mapping[str, Any]) -> None:
        """Take in a bundle ConfigMap or ClusterTrustBundle: every configuration of that name looks at it."""
        meta = Meta.of(body)
        place = (meta.namespace, meta.name)
        if event == DELETED:
            self._store.bundles.gone(place, meta.uid)
        else:
            self._store.bundles.tell(place, bundle_view(body))
        for configuration, wish in self._authorities.bundles.items():
            if not meta.namespace or wish.name == meta.name:
                self._queue.add(bundle_key(meta.namespace, configuration), Urgency.CONTROL)

    def policy(self, _event: str, _body: Mapping[str, Any]) -> None:
        """Take in an admission policy or binding."""
        self._queue.add(ADMISSION_KEY, Urgency.CONTROL)

    def authority_changed(self, configuration: str) -> None:
        """Queue the leaves of a configuration that wait for a certificate, a renewal or a new root."""
        authority, now = self._authorities.get(configuration), self._clock.now()
        if isinstance(authority, Authority) and self._store.leaves.expect_names(
            configuration, NameRule.of(authority)
        ):
            self.moved(configuration)
        for view in self._store.leaves.of_configuration(configuration):
            secret = self._store.secrets.get((view.meta.namespace, view.spec.secret_name))
            if awaits_turn(view, secret, authority, now):
                self.queue_move(view)
            elif view.issued is None or view.state == RENEW or is_of_the_future(view, now):
                self.queue_leaf(view)

    def primary(self, configuration: str) -> None:
        """Look at a secondary, because its link has news of the primary."""
        if configuration in self._store.configurations:
            self._queue.add(configuration_key(configuration), Urgency.CONTROL)

    def moved(self, configuration: str) -> None:
        """Look at a configuration soon, because what a rotation has left to do has changed."""
        if configuration in self._store.configurations:
            delay = census_delay(len(self._store.leaves))
            self._queue.add_after(configuration_key(configuration), delay, Urgency.CONTROL)

    def _root_changed(self, configuration: str, root: str) -> None:
        """Take in that the leaves that need a root are others now; nothing in itself under the active one."""
        if root == UNREAD:
            news = not self._store.leaves.unread(configuration)
        else:
            authority = self._authorities.get(configuration)
            news = isinstance(authority, Authority) and root != authority.root
        if news:
            self.moved(configuration)

    def _life_changed(self, namespace: str, configuration: str) -> None:
        """Look at the bundle of a namespace that left the selector: it is kept while leaves live there."""
        wish, view = self._authorities.bundles.get(configuration), self._store.namespaces.get(namespace)
        if wish is None or view is None or wish.namespaces.matches(view.labels):
            return
        if (namespace, wish.name) in self._store.bundles:
            self._queue.add(bundle_key(namespace, configuration), Urgency.CONTROL)

    def leaves_listed(self) -> None:
        """Take in that the store holds all leaves: until now nobody could say which ones there are not."""
        self._store.leaves.listing = False
        for configuration in self._store.configurations:
            self.moved(configuration)
        for configuration in self._authorities.bundles:
            for place in sorted(self._authorities.board(configuration).behind):
                self._queue.add(bundle_key(place, configuration), Urgency.CONTROL)

    def bundle_wish(self, wish: BundleWish) -> None:
        """Take in what a configuration publishes: every place is looked at by and by when it changed."""
        if self._authorities.bundles.get(wish.configuration) == wish:
            return
        self._authorities.bundles[wish.configuration] = wish
        for place in ("", *self._store.namespaces):
            self._authorities.board(wish.configuration).expect(place)
            self._queue.add(bundle_key(place, wish.configuration), Urgency.SPREAD)

    def published(self, configuration: str) -> None:
        """Look at a configuration soon, because what its status says of the bundle's places has changed."""
        self._queue.add_after(configuration_key(configuration), PUBLICATION_DELAY, Urgency.CONTROL)

    def set_limits(self, configuration: str, per_second: float, concurrent: int, reissue: float) -> None:
        """Apply the limits of a configuration from now on."""
        self._queue.set_limits(
            configuration, per_second=per_second, concurrent=concurrent, reissue_per_second=reissue
        )

    def admission_changed(self) -> None:
        """Look at every configuration, and at every leaf that waits, because the policy's state changed."""
        for configuration in self._store.configurations:
            self._queue.add(configuration_key(configuration), Urgency.CONTROL)
            self.authority_changed(configuration)

    def _queue_all(self, views: Iterable[LeafView]) -> None:
        for view in views:
            self.queue_leaf(view)


def census_delay(leaves: int) -> float:
    """Return the seconds over which moved leaves are gathered when there are so many."""
    return max(CENSUS_DELAY, leaves / CENSUS_RATE)


def _is_old(event: str, resource_version: str, known: str) -> bool:
    """Tell whether news of an object are older than what was written here, or the same.

    What was listed counts whatever its version, because versions go back when etcd is restored.
    """
    return resource_version == known if not event else not newer(resource_version, known)
