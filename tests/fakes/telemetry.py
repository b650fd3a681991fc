"""Telemetry that remembers what it was told."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from meshca.engine.work import Urgency


class Tally:
    """Counts and latest values, for tests to read."""

    def __init__(self) -> None:
        self.issued: Counter[tuple[str, str]] = Counter()
        self.failures: Counter[str] = Counter()
        self.writes: Counter[tuple[str, str]] = Counter()
        self.roots: dict[tuple[str, str], datetime | None] = {}
        self.signers: dict[str, datetime | None] = {}
        self.clusters: dict[tuple[str, str], datetime | None] = {}
        self.forgotten: list[str] = []
        self.states: dict[str, Mapping[str, int]] = {}
        self.primaries: dict[str, tuple[bool, float | None]] = {}

    def leaf_issued(self, configuration: str, kind: str, seconds: float) -> None:
        assert seconds >= 0
        self.issued[configuration, kind] += 1

    def issue_failed(self, reason: str) -> None:
        self.failures[reason] += 1

    def leaves(self, configuration: str, by_state: Mapping[str, int]) -> None:
        self.states[configuration] = by_state

    def root_expiry(self, configuration: str, root: str, not_after: datetime | None) -> None:
        self.roots[configuration, root] = not_after

    def signer_expiry(self, configuration: str, not_after: datetime | None) -> None:
        self.signers[configuration] = not_after

    def federated_cluster_seen(self, configuration: str, cluster: str, moment: datetime | None) -> None:
        self.clusters[configuration, cluster] = moment

    def primary(self, configuration: str, *, reachable: bool, last_contact: float | None) -> None:
        self.primaries[configuration] = (reachable, last_contact)

    def no_primary(self, configuration: str) -> None:
        self.primaries.pop(configuration, None)

    def rotation_phase(self, configuration: str, phase: str) -> None:
        del configuration, phase

    def forget_configuration(self, configuration: str) -> None:
        self.forgotten.append(configuration)

    def queue(self, depth: Mapping[Urgency, int], oldest_age: float) -> None:
        del depth, oldest_age

    def api_write(self, kind: str, verb: str) -> None:
        self.writes[kind, verb] += 1

    def leader(self, leading: bool) -> None:
        del leading

    def loop_lag(self, seconds: float) -> None:
        del seconds
