"""What the engine says about itself, as a protocol.

``server.metrics`` implements it for Prometheus; the engine knows no metric names. Calls are cheap, never
block and never raise. No method takes anything that grows with the number of leaves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from meshca.engine.work import Urgency

LeafKind = Literal["csr", "managed"]


class Telemetry(Protocol):
    """Receives facts; the latest word for a gauge wins."""

    def leaf_issued(self, configuration: str, kind: LeafKind, seconds: float) -> None:
        """Count a leaf; ``seconds`` from the creation (or due time) of the request to its written status."""
        ...

    def issue_failed(self, reason: str) -> None:
        """Count a leaf that was refused or failed; ``reason`` is a condition reason, never free text."""
        ...

    def leaves(self, configuration: str, by_state: Mapping[str, int]) -> None:
        """Set how many leaves of a configuration are in each state; states left out count 0."""
        ...

    def root_expiry(self, configuration: str, root: str, not_after: datetime | None) -> None:
        """Set the end of a root by its CARoot's name; None when it is gone."""
        ...

    def signer_expiry(self, configuration: str, not_after: datetime | None) -> None:
        """Set the end of the signer in use; None when there is none."""
        ...

    def federated_cluster_seen(self, configuration: str, cluster: str, moment: datetime | None) -> None:
        """Set when a secondary last reported (UTC); None when it never has, or is not registered any more."""
        ...

    def primary(self, configuration: str, *, reachable: bool, last_contact: float | None) -> None:
        """Set whether the primary of a secondary answers, and when it did last (seconds since 1970 UTC)."""
        ...

    def no_primary(self, configuration: str) -> None:
        """Remove what is said of a primary: the configuration is no secondary (any more)."""
        ...

    def rotation_phase(self, configuration: str, phase: str) -> None:
        """Set the phase of the rotation; empty when there is none."""
        ...

    def forget_configuration(self, configuration: str) -> None:
        """Remove everything about a configuration that was deleted."""
        ...

    def queue(self, depth: Mapping[Urgency, int], oldest_age: float) -> None:
        """Set what waits in the queue, and for how many seconds the oldest has waited."""
        ...

    def api_write(self, kind: str, verb: str) -> None:
        """Count one write; ``kind`` ends in ``/status`` for a status, ``verb`` is create, patch, apply..."""
        ...

    def leader(self, leading: bool) -> None:
        """Set whether this replica leads."""
        ...

    def loop_lag(self, seconds: float) -> None:
        """Report by how many seconds the engine's event loop woke late."""
        ...
