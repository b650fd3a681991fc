"""What a decision about a LeafCertificateRequest depends on, put together from store and authorities.

Decides only where a fact comes from: the watch store, and the API server where the store may be a moment
behind and the answer would be a refusal. Decides nothing about the request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshca.api import names
from meshca.api.v1alpha1.scalars import format_time
from meshca.errors import NotFoundError
from meshca.planning.authority import Authority
from meshca.planning.leaf import LeafSnapshot
from meshca.planning.views import Meta, labels_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meshca.clock import Clock
    from meshca.engine.authorities import Authorities
    from meshca.engine.managed import ManagedKeys
    from meshca.engine.ports import Cluster
    from meshca.engine.store import Store
    from meshca.planning.authority import Unavailable
    from meshca.planning.views import LeafView


class LeafObserver:
    """Makes snapshots of requests."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        store: Store,
        authorities: Authorities,
        clock: Clock,
        managed: ManagedKeys,
        clocks_differ: Callable[[], bool],
        operator_namespace: str,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._authorities = authorities
        self._clock = clock
        self._managed = managed
        self._clocks_differ = clocks_differ
        self._operator_namespace = operator_namespace

    async def observe(self, view: LeafView, *, turn: bool = False) -> LeafSnapshot:
        """Collect what the decision about a request depends on; ``turn`` as in the snapshot."""
        place = (view.meta.namespace, view.spec.secret_name)
        authority = self._authorities.get(view.spec.configuration)
        return LeafSnapshot(
            now=self._clock.now(),
            leaf=view,
            authority=authority,
            admission=self._authorities.admission,
            namespace_labels=await self._namespace_labels(view, authority),
            account_exists=await self._account_exists(view),
            managed_allowed=self._managed.allowed(view.meta.namespace),
            operator_namespace=self._operator_namespace,
            secret=self._store.secrets.get(place) if view.spec.managed else None,
            older_claim=self._older_claim(view),
            turn=turn,
            clocks_differ=self._clocks_differ(),
        )

    async def rules_changed(self, snapshot: LeafSnapshot) -> bool:
        """Tell whether a configuration was edited since its rules were read: a refusal by them is final."""
        if not isinstance(snapshot.authority, Authority):
            return False
        try:
            body = await self._cluster.get(names.CA_CONFIGURATION, snapshot.authority.configuration)
        except NotFoundError:
            return True
        return Meta.of(body).generation != snapshot.authority.generation

    async def _namespace_labels(
        self, view: LeafView, authority: Authority | Unavailable
    ) -> Mapping[str, str]:
        known = self._store.namespaces.get(view.meta.namespace)
        if not isinstance(authority, Authority):
            return {}
        if known is not None and authority.naming.namespaces.matches(known.labels):
            return known.labels
        try:
            # A refusal is final, and the watch may be a moment behind a namespace just made or labelled.
            return labels_of(await self._cluster.get(names.NAMESPACE, view.meta.namespace))
        except NotFoundError:
            return {}

    async def _account_exists(self, view: LeafView) -> bool:
        place = (view.meta.namespace, view.spec.service_account)
        if place in self._store.accounts:
            return True
        if not view.spec.service_account:
            return False
        try:
            # The watch may be a moment behind a workload that creates both at once.
            await self._cluster.get(names.SERVICE_ACCOUNT, view.spec.service_account, view.meta.namespace)
        except (NotFoundError, ValueError):
            return False
        return True

    def _older_claim(self, view: LeafView) -> str:
        if not view.spec.managed:
            return ""
        for other in self._store.leaves.of_secret(view.meta.namespace, view.spec.secret_name):
            if other.key != view.key and not other.meta.deleting and _claim(other) < _claim(view):
                return other.meta.name
        return ""


def _claim(view: LeafView) -> tuple[bool, str, str]:
    """Return who comes first where several requests name one Secret: one that was issued, then the oldest."""
    created = format_time(view.meta.created) if view.meta.created else ""
    return (not view.chain_digest, created, view.meta.uid)
