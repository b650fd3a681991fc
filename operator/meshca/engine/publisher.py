"""Publishes the trust bundle to one place: a ConfigMap of a namespace, or the ClusterTrustBundle.

Decides whether a place is to hold the bundle, holds it already, or belongs to somebody else; writes only
what differs. A failure that may pass counts as a refusal when it has lasted, or such a place would hold
up for ever what waits for all. Never removes a bundle: whatever shrinks trust is decided elsewhere.
"""

from __future__ import annotations

import hashlib
import logging
import math
from typing import TYPE_CHECKING, Any, Final

from meshca.api import names
from meshca.engine.bundles import bundle_view
from meshca.engine.outcome import Outcome
from meshca.engine.recently import Recently
from meshca.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    LeaseExpiringError,
    MeshCAError,
    MisconfiguredError,
    NotFoundError,
    TransientError,
)

if TYPE_CHECKING:
    from meshca.clock import Clock
    from meshca.engine.authorities import Authorities, BundleWish
    from meshca.engine.bundles import BundleView
    from meshca.engine.intake import Intake
    from meshca.engine.ports import Cluster
    from meshca.engine.store import Store

_log = logging.getLogger(__name__)
JSON = dict[str, Any]
FOREIGN = "an object of that name exists and is not meshca's: rename or remove it"
UNDONE = "somebody keeps changing it back: leave it to meshca"
LASTING: Final = 60.0
"""Seconds after which a failure that may pass is told: servers and webhooks are restarted now and then."""


class Publisher:
    """One pass over one place of one configuration's bundle."""

    def __init__(
        self, *, cluster: Cluster, store: Store, authorities: Authorities, intake: Intake, clock: Clock
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._authorities = authorities
        self._intake = intake
        self._clock = clock
        self._failing: dict[tuple[str, str], float] = {}
        self._written: Recently[tuple[str, str, str]] = Recently()
        self.cluster_bundles = True

    async def reconcile(self, place: str, configuration: str) -> Outcome:
        """Bring one place up to date; ``place`` is a namespace, or "" for the ClusterTrustBundle."""
        wish = self._authorities.bundles.get(configuration)
        if wish is None:
            self._failing.pop((place, configuration), None)
            return Outcome()
        board = self._authorities.board(configuration)
        wanted = self._wanted(place, wish)
        if wanted is None:
            return Outcome()
        if not wanted:
            self._failing.pop((place, configuration), None)
            if board.forget(place):
                self._intake.published(configuration)
            return Outcome()
        try:
            refusal = await self._bring(place, wish)
        except (TransientError, MisconfiguredError) as error:
            if await self._has_lasted(place, wish, error) and board.note(place, error.message):
                self._intake.published(configuration)
            raise
        self._failing.pop((place, configuration), None)
        if board.note(place, refusal):
            self._intake.published(configuration)
        return Outcome(retry=refusal is not None)

    async def _has_lasted(self, place: str, wish: BundleWish, error: MeshCAError) -> bool:
        """Tell, once, that a place fails for so long that it counts as one that refuses."""
        if isinstance(error, LeaseExpiringError):
            return False
        entry, now = (place, wish.configuration), self._clock.monotonic()
        if now - self._failing.setdefault(entry, now) < LASTING:
            return False
        answered = await self._is_answered(place, wish)
        # Only once: the text of such a failure may be another one each time, and each would be a write. And
        # while nobody is answered it is not the place that fails.
        self._failing[entry] = math.inf if answered else self._clock.monotonic()
        return answered

    async def _is_answered(self, place: str, wish: BundleWish) -> bool:
        """Tell whether the API server answers a question about a place at all."""
        resource, name = _object_of(place, wish)
        try:
            await self._cluster.get(resource, name, place)
        except TransientError:
            return False
        except MeshCAError:
            # That is an answer, too.
            return True
        return True

    def _wanted(self, place: str, wish: BundleWish) -> bool | None:
        """Tell whether a place is to hold the bundle; None until the leaves are known that decide it."""
        if not place:
            return wish.cluster_trust_bundle and self.cluster_bundles
        namespace = self._store.namespaces.get(place)
        if namespace is None or namespace.terminating:
            return False
        if wish.namespaces.matches(namespace.labels):
            return True
        if (place, wish.name) not in self._store.bundles:
            return False
        # A namespace that left the selector is kept up to date while its leaves live.
        leaves = self._store.leaves
        return True if leaves.live_in(place, wish.configuration) else None if leaves.listing else False

    async def _bring(self, place: str, wish: BundleWish) -> str | None:
        _, name = _object_of(place, wish)
        known = self._store.bundles.get((place, name))
        if known is not None and not self._is_ours(known, wish):
            return FOREIGN
        if known is not None:
            self._store.bundles.claim(known)
        if known is not None and known.owner and known.digest == _digest(wish.pem):
            return None
        if self._written.too_often(_what(place, wish), self._clock.monotonic()):
            # Perhaps a second operator: who always writes back only makes the other do the same.
            return UNDONE
        return await self._write(place, name, wish, known)

    async def _write(self, place: str, name: str, wish: BundleWish, known: BundleView | None) -> str | None:
        with self._store.bundles.inquiry() as inquiry:
            written = await self._ask(place, name, wish, known)
            if isinstance(written, str):
                return written
            self._written.note(_what(place, wish), self._clock.monotonic())
            view = bundle_view(written)
            if not self._store.bundles.answer(inquiry, (place, name), view):
                raise ConflictError(f"the bundle in {place!r} was changed or removed while it was written")
            self._store.bundles.claim(view)
        return None

    async def _ask(self, place: str, name: str, wish: BundleWish, known: BundleView | None) -> JSON | str:
        """Have the API server hold the bundle; returns the object, or why it does not."""
        resource, _ = _object_of(place, wish)
        body = _config_map(place, wish) if place else _cluster_trust_bundle(name, wish)
        try:
            if known is None:
                return await self._create(resource, body, wish) or FOREIGN
            body["metadata"]["uid"] = known.uid
            return await self._cluster.apply(resource, body)
        except NotFoundError:
            # The namespace is going away, and with it the place.
            return "the namespace is being deleted" if place else "the API server has no such kind"
        except (ForbiddenError, InvalidError) as error:
            return error.message

    async def _create(self, resource: names.Resource, body: JSON, wish: BundleWish) -> JSON | None:
        """Create the object; when it is there already, take it over only if it is ours."""
        name, namespace = body["metadata"]["name"], body["metadata"].get("namespace", "")
        try:
            found = await self._cluster.get(resource, name, namespace)
        except NotFoundError:
            # RBAC can limit an apply by name, a create it cannot; without force, so that an object that
            # somebody made in between is a conflict and not ours.
            return await self._cluster.apply(resource, body, force=False)
        view = bundle_view(found)
        if not self._is_ours(view, wish):
            return None
        if view.digest == _digest(wish.pem):
            return found
        body["metadata"]["uid"] = view.uid
        return await self._cluster.apply(resource, body)

    def _is_ours(self, view: BundleView, wish: BundleWish) -> bool:
        return view.owner == wish.configuration or self._store.bundles.is_claimed(view)


def _object_of(place: str, wish: BundleWish) -> tuple[names.Resource, str]:
    """Return kind and name of the bundle of a place."""
    if place:
        return names.CONFIG_MAP, wish.name
    return names.CLUSTER_TRUST_BUNDLE, names.cluster_trust_bundle(wish.configuration)


def _what(place: str, wish: BundleWish) -> tuple[str, str, str]:
    return place, wish.configuration, wish.digest


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _labels(wish: BundleWish) -> dict[str, str]:
    return {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_TRUST_BUNDLE: wish.configuration}


def _config_map(namespace: str, wish: BundleWish) -> JSON:
    return {
        "metadata": {"name": wish.name, "namespace": namespace, "labels": _labels(wish)},
        "data": {names.BUNDLE_KEY: wish.pem},
    }


def _cluster_trust_bundle(name: str, wish: BundleWish) -> JSON:
    return {
        "metadata": {"name": name, "labels": _labels(wish)},
        "spec": {"signerName": names.signer_name(wish.configuration), "trustBundle": wish.pem},
    }
