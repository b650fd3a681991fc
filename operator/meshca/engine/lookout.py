"""What a rotation has to know of the world before it goes on or throws something away.

Decides how evidence is gathered: who needs a root and where the bundle is, by consistent lists of the API
server; how many leaves have moved, by the watch store, which is good enough for a figure. Never decides what
follows from it.
"""

from __future__ import annotations

import hashlib
import heapq
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.engine.bundles import bundle_view
from meshca.engine.intake import bundle_key
from meshca.engine.work import Urgency
from meshca.errors import (
    ForbiddenError,
    GoneError,
    InvalidError,
    MisconfiguredError,
    NotFoundError,
    TransientError,
)
from meshca.pki.certificates import facts, load_all
from meshca.planning.authority import Authority
from meshca.planning.ca import Census, Evidence
from meshca.planning.views import leaf_view

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from meshca.clock import Clock
    from meshca.engine.authorities import Authorities, BundleWish
    from meshca.engine.ports import Cluster
    from meshca.engine.queue import WorkQueue
    from meshca.engine.store import Store
    from meshca.planning.ca import Root

JSON = dict[str, Any]
MOST_LISTED = 10


class Lookout:
    """Gathers evidence for the configuration reconciler."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        store: Store,
        authorities: Authorities,
        queue: WorkQueue,
        clock: Clock,
        cluster_bundles: bool = True,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._authorities = authorities
        self._queue = queue
        self._clock = clock
        self.cluster_bundles = cluster_bundles

    def census(self, configuration: str, roots: Iterable[Root], active: str) -> Census:
        """Count the live leaves that need another root than the one of this name."""
        root = next((item for item in roots if item.meta.name == active), None)
        if root is None:
            return Census()
        authority = self._authorities.get(configuration)
        wanted = authority.bundle if isinstance(authority, Authority) and authority.bundle_in_secrets else ""
        return self._store.leaves.census(
            configuration, root.facts.fingerprint, self._clock.now(), bundle=wanted
        )

    async def evidence(self, configuration: str, root: Root) -> Evidence:
        """List all requests and count those whose live leaf was issued under a root; names the first to end.

        Of a page nothing is kept but that: there may be tens of thousands of requests, of some KiB each.
        ``TransientError`` when the listing lasted too long to be of one moment.
        """
        count = 0
        first: list[tuple[datetime, str]] = []
        try:
            async with aclosing(self._cluster.pages(names.LEAF)) as pages:
                async for page in pages:
                    needing = list(self._needing(page.items, configuration, root))
                    count += len(needing)
                    first = heapq.nsmallest(MOST_LISTED, [*first, *needing])
        except GoneError as error:
            # Not in one piece instead, as other lists are: that would not fit into memory.
            raise TransientError(
                f"the listing is begun again: {error.message}", reason=error.reason
            ) from error
        return Evidence(
            root=root.facts.fingerprint,
            blockers=tuple(name for _, name in first),
            count=count,
            next_end=first[0][0] if first else None,
        )

    def _needing(
        self, bodies: Iterable[JSON], configuration: str, root: Root
    ) -> Iterator[tuple[datetime, str]]:
        """Yield end and name of the live leaves of a configuration that need a root."""
        now = self._clock.now()
        for body in bodies:
            if (body.get("spec") or {}).get("caConfigurationName", "default") == configuration:
                end = self._needs(body, root)
                if end is not None and end > now:
                    meta = body["metadata"]
                    yield end, f"{meta['namespace']}/{meta['name']}"

    def _needs(self, body: JSON, root: Root) -> datetime | None:
        """Return until when a request's leaf needs a root; None when it does not.

        By key identifiers alone: a chain that only pretends keeps a root longer, never less long.
        """
        view = leaf_view(body, self._store.leaves.get(_place(body)))
        if view.issued is not None:
            return view.issued.not_after if view.issued.root == root.facts.fingerprint else None
        if not view.chain:
            return None
        try:
            leaf, signer = load_all(view.chain)[:2]
        except (InvalidError, ValueError):
            return None
        return facts(leaf).not_after if facts(signer).authority_key_id == root.facts.subject_key_id else None

    async def read_back(self, configuration: str) -> None:
        """List the published bundles and compare each with what is to be there."""
        wish, board = self._authorities.bundles[configuration], self._authorities.board(configuration)
        wanted = hashlib.sha256(wish.pem.encode()).hexdigest()
        held = await self._held(wish)
        for place in self._places(wish):
            if held.get(place) != wanted and place not in board.refused:
                board.expect(place)
                self._queue.add(bundle_key(place, configuration), Urgency.CONTROL)
        # Looked at is enough here: how long a place that lacks it may hold things up is planned.
        board.read_back = True

    async def _held(self, wish: BundleWish) -> dict[str, str]:
        """Return the digest of the text that each place holds; "" is the ClusterTrustBundle."""
        cluster_wide = names.cluster_trust_bundle(wish.configuration)
        with self._store.bundles.inquiry() as inquiry:
            found = await self._cluster.list(names.CONFIG_MAP, field_selector=f"metadata.name={wish.name}")
            if self._wants_cluster_bundle(wish):
                found += await self._cluster_bundle(cluster_wide)
            views = {str(item["metadata"].get("namespace", "")): bundle_view(item) for item in found}
            for place in {*views, *self._places(wish)}:
                # A watch that is behind must not make the publisher believe that nothing is to be done.
                name = wish.name if place else cluster_wide
                self._store.bundles.answer(inquiry, (place, name), views.get(place))
        return {place: view.digest for place, view in views.items()}

    async def _cluster_bundle(self, name: str) -> list[JSON]:
        """Read a ClusterTrustBundle; what cannot be read is not held, and the publisher finds out why."""
        try:
            return [await self._cluster.get(names.CLUSTER_TRUST_BUNDLE, name)]
        except (NotFoundError, ForbiddenError, MisconfiguredError):
            return []

    def _places(self, wish: BundleWish) -> list[str]:
        places = [
            name
            for name, view in self._store.namespaces.items()
            if not view.terminating and wish.namespaces.matches(view.labels)
        ]
        return [*places, ""] if self._wants_cluster_bundle(wish) else places

    def _wants_cluster_bundle(self, wish: BundleWish) -> bool:
        return wish.cluster_trust_bundle and self.cluster_bundles


def _place(body: JSON) -> tuple[str, str]:
    return str(body["metadata"].get("namespace", "")), str(body["metadata"].get("name", ""))
