"""What a change of a registered cluster, or of a secondary's request, means: which keys are looked at.

Decides nothing about them. Holds a few words about each, enough to know what a change affects; decisions
are taken on fresh reads. Called from watch handlers, so nothing here waits. Bodies may hold anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshca.engine.work import Key, Urgency
from meshca.planning.requestview import read_request
from meshca.planning.secondaries import read_secondary
from meshca.planning.views import Meta

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from meshca.engine.queue import WorkQueue
    from meshca.engine.timers import Timers

FEDERATED = "federated"
INTERMEDIATE = "intermediate"
REQUESTED: Final = Urgency.SPREAD
"""A secondary may ask and report as often as it likes: a leaf waits for one turn at most, a CA for none."""
DELETED = "DELETED"
Name = tuple[str, str]


def federated_key(name: str) -> Key:
    """Return the key of a FederatedCluster."""
    return Key(FEDERATED, "", name)


def intermediate_key(namespace: str, name: str) -> Key:
    """Return the key of an IntermediateCertificateRequest."""
    return Key(INTERMEDIATE, namespace, name)


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """A FederatedCluster as it is held in memory; ``evidence`` is what roots depend on."""

    uid: str
    configuration: str
    generation: int
    evidence: tuple[object, ...]
    report: object


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """A secondary's request as it is held in memory."""

    uid: str
    cluster: str
    configuration: str
    issued: bool


class FederationIntake:
    """Takes in both kinds; ``event`` is ADDED, MODIFIED, DELETED, or "" for a listed object."""

    def __init__(self, queue: WorkQueue, timers: Timers, moved: Callable[[str], None]) -> None:
        self._queue = queue
        self._timers = timers
        self._moved = moved
        self.clusters: dict[str, ClusterFacts] = {}
        self.requests: dict[Name, RequestFacts] = {}

    def cluster(self, event: str, body: Mapping[str, Any]) -> None:
        """Take in a FederatedCluster: what waits for it, and what its report may let go on."""
        meta, secondary = Meta.of(body), read_secondary(body)
        known = self.clusters.get(meta.name)
        if event == DELETED or secondary is None:
            # Kopf keeps the order of each uid only: a successor of that name may be known already.
            if known is not None and known.uid == meta.uid:
                del self.clusters[meta.name]
                self._registration_changed(meta.name, known.configuration)
            return
        facts = ClusterFacts(
            uid=meta.uid,
            configuration=secondary.spec.ca_configuration_name,
            generation=meta.generation,
            evidence=secondary.evidence,
            report=(secondary.status.last_seen, secondary.status.reporter),
        )
        self.clusters[meta.name] = facts
        if known is None or (known.uid, known.generation) != (facts.uid, facts.generation):
            self._registration_changed(meta.name, facts.configuration)
        elif known != facts:
            self._queue.add(federated_key(meta.name), REQUESTED)
        if known is not None and known.evidence != facts.evidence:
            self._moved(facts.configuration)

    def _registration_changed(self, name: str, configuration: str) -> None:
        """Look at its requests, and at all that may have waited for its name or its namespace."""
        self._look_at(name, *self.clusters)
        self._look_at_requests(
            key for key, item in self.requests.items() if item.cluster == name or not item.issued
        )
        self._moved(configuration)

    def request(self, event: str, body: Mapping[str, Any]) -> None:
        """Take in an IntermediateCertificateRequest."""
        request = read_request(body)
        place = (request.meta.namespace, request.meta.name)
        known = self.requests.get(place)
        if event == DELETED:
            if known is None or known.uid == request.meta.uid:
                self.forget_request(place)
            return
        self.requests[place] = RequestFacts(
            request.meta.uid, request.cluster, request.configuration, request.issued
        )
        self._queue.add(intermediate_key(*place), REQUESTED)

    def forget_request(self, place: Name) -> None:
        """Forget a request that is gone."""
        self.requests.pop(place, None)
        self._timers.cancel(intermediate_key(*place))
        self._queue.discard(intermediate_key(*place))

    def forget_cluster(self, name: str) -> None:
        """Forget a cluster that is gone although no watch told of it."""
        known = self.clusters.pop(name, None)
        if known is not None:
            self._registration_changed(name, known.configuration)

    def signing_root_changed(self, configuration: str) -> None:
        """Look at the clusters of a configuration, and at the requests that wait for a certificate."""
        self._look_at(*(name for name, item in self.clusters.items() if item.configuration == configuration))
        self._look_at_requests(
            key
            for key, item in self.requests.items()
            if item.configuration == configuration and not item.issued
        )

    def admission_changed(self) -> None:
        """Look at every request that has no certificate, because the policy's state changed."""
        self._look_at_requests(key for key, item in self.requests.items() if not item.issued)

    def look_at_all(self) -> None:
        """Look at everything: no watch may have told of a change."""
        self._look_at(*self.clusters)
        self._look_at_requests(self.requests)

    def _look_at(self, *clusters: str) -> None:
        for name in clusters:
            self._queue.add(federated_key(name), Urgency.CONTROL)

    def _look_at_requests(self, keys: Iterable[Name]) -> None:
        for key in keys:
            self._queue.add(intermediate_key(*key), REQUESTED)
