"""The metrics of one replica, for Prometheus.

Decides names, labels and help texts (docs/metrics.md is generated from here); never what is true. No
label grows with the number of leaves: label values are names of CAConfigurations, CARoots and
FederatedClusters, which only administrators create, and words of our own.

Safe to call from the engine's thread while the server's thread renders.
"""

from __future__ import annotations

import platform
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from meshca import __version__
from meshca.api.v1alpha1 import LeafState, RotationPhase
from meshca.engine.work import Urgency

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from meshca.engine.telemetry import LeafKind

LEAF_STATES: Final = tuple(state.value for state in LeafState)
PHASES: Final = ("None", *(phase.value for phase in RotationPhase))
ISSUE_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
LAG_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)


class Metrics:
    """Implements ``engine.telemetry.Telemetry`` on a registry of its own."""

    def __init__(self) -> None:
        # Without it each counter has a second series that nothing here needs.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._expiries()
        self._leaves()
        self._process()
        self._roots: dict[str, set[str]] = defaultdict(set)

    def _expiries(self) -> None:
        self._root_expiry = Gauge(
            "meshca_root_expiry_timestamp_seconds",
            "When a trusted root ends, in seconds since 1970 UTC.",
            ["configuration", "root"],
            registry=self.registry,
        )
        self._signer_expiry = Gauge(
            "meshca_signer_expiry_timestamp_seconds",
            "When the signer in use ends, in seconds since 1970 UTC.",
            ["configuration"],
            registry=self.registry,
        )
        self._cluster_seen = Gauge(
            "meshca_federated_cluster_last_seen_timestamp_seconds",
            "When a registered secondary cluster last reported, in seconds since 1970 UTC.",
            ["configuration", "cluster"],
            registry=self.registry,
        )
        self._primary_reachable = Gauge(
            "meshca_primary_reachable",
            "1 while the primary of a secondary answers, else 0; nothing for a CA that is no secondary.",
            ["configuration"],
            registry=self.registry,
        )
        self._primary_contact = Gauge(
            "meshca_primary_last_contact_timestamp_seconds",
            "When the primary of a secondary answered last, in seconds since 1970 UTC.",
            ["configuration"],
            registry=self.registry,
        )
        self._phase = Gauge(
            "meshca_rotation_phase",
            "1 for the phase in which the rotation of a configuration is, 0 for the others.",
            ["configuration", "phase"],
            registry=self.registry,
        )

    def _leaves(self) -> None:
        self._issued = Histogram(
            "meshca_leaf_issue_duration_seconds",
            "From the creation of a request, or the moment its renewal was due, to its certificate.",
            ["configuration", "kind"],
            buckets=ISSUE_BUCKETS,
            registry=self.registry,
        )
        self._by_state = Gauge(
            "meshca_leaves",
            "LeafCertificateRequests by state.",
            ["configuration", "state"],
            registry=self.registry,
        )
        self._failures = Counter(
            "meshca_issue_failures",
            "Leaves that were refused or failed, by the reason that their condition shows.",
            ["reason"],
            registry=self.registry,
        )

    def _process(self) -> None:
        self._depth = Gauge(
            "meshca_queue_depth", "Keys that wait, by urgency.", ["urgency"], registry=self.registry
        )
        self._age = Gauge(
            "meshca_queue_age_seconds",
            "How long the oldest key has waited; re-issues, which are paced, left out.",
            registry=self.registry,
        )
        self._writes = Counter(
            "meshca_api_writes", "Writes to the API server.", ["kind", "verb"], registry=self.registry
        )
        self._leader = Gauge("meshca_leader", "1 on the replica that leads.", registry=self.registry)
        self._lag = Histogram(
            "meshca_loop_lag_seconds",
            "How late the event loop of the engine woke.",
            buckets=LAG_BUCKETS,
            registry=self.registry,
        )
        build = Info("meshca_build", "What is running.", registry=self.registry)
        build.info({"version": __version__, "python": platform.python_version()})
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def leaf_issued(self, configuration: str, kind: LeafKind, seconds: float) -> None:
        """Count a leaf and the seconds it took."""
        self._issued.labels(configuration, kind).observe(max(0.0, seconds))

    def issue_failed(self, reason: str) -> None:
        """Count a refused or failed leaf by its condition reason."""
        self._failures.labels(reason).inc()

    def leaves(self, configuration: str, by_state: Mapping[str, int]) -> None:
        """Set how many leaves are in each state; states left out count 0."""
        for state in LEAF_STATES:
            self._by_state.labels(configuration, state).set(by_state.get(state, 0))

    def root_expiry(self, configuration: str, root: str, not_after: datetime | None) -> None:
        """Set the end of a root, or remove the root."""
        if not_after is not None:
            self._roots[configuration].add(root)
            self._root_expiry.labels(configuration, root).set(not_after.timestamp())
        elif root in self._roots[configuration]:
            self._roots[configuration].remove(root)
            self._root_expiry.remove(configuration, root)

    def signer_expiry(self, configuration: str, not_after: datetime | None) -> None:
        """Set the end of the signer in use, or remove it."""
        if not_after is None:
            self._signer_expiry.remove_by_labels({"configuration": configuration})
        else:
            self._signer_expiry.labels(configuration).set(not_after.timestamp())

    def federated_cluster_seen(self, configuration: str, cluster: str, moment: datetime | None) -> None:
        """Set when a secondary last reported, or remove it."""
        if moment is None:
            self._cluster_seen.remove_by_labels({"configuration": configuration, "cluster": cluster})
        else:
            self._cluster_seen.labels(configuration, cluster).set(moment.timestamp())

    def primary(self, configuration: str, *, reachable: bool, last_contact: float | None) -> None:
        """Set whether the primary of a secondary answers, and when it did last."""
        self._primary_reachable.labels(configuration).set(reachable)
        if last_contact is not None:
            self._primary_contact.labels(configuration).set(last_contact)

    def no_primary(self, configuration: str) -> None:
        """Remove what is said of a primary."""
        for metric in (self._primary_reachable, self._primary_contact):
            metric.remove_by_labels({"configuration": configuration})

    def rotation_phase(self, configuration: str, phase: str) -> None:
        """Set the phase of the rotation; empty means none."""
        present = phase or PHASES[0]
        for name in PHASES:
            self._phase.labels(configuration, name).set(name == present)

    def forget_configuration(self, configuration: str) -> None:
        """Remove every series of a configuration that was deleted."""
        self._roots.pop(configuration, None)
        labels = {"configuration": configuration}
        self.no_primary(configuration)
        for metric in (
            self._root_expiry,
            self._signer_expiry,
            self._cluster_seen,
            self._phase,
            self._issued,
            self._by_state,
        ):
            metric.remove_by_labels(labels)

    def queue(self, depth: Mapping[Urgency, int], oldest_age: float) -> None:
        """Set what waits in the queue, and the age of the oldest in seconds."""
        for urgency in Urgency:
            self._depth.labels(urgency.name.lower()).set(depth.get(urgency, 0))
        self._age.set(oldest_age)

    def api_write(self, kind: str, verb: str) -> None:
        """Count one write."""
        self._writes.labels(kind, verb).inc()

    def leader(self, leading: bool) -> None:
        """Set whether this replica leads."""
        self._leader.set(leading)

    def loop_lag(self, seconds: float) -> None:
        """Record how late the engine's loop woke."""
        self._lag.observe(max(0.0, seconds))
