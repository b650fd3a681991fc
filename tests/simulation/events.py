"""What every group of events shares: the cluster that it happens to, and chance."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random

    from meshca.api import names
    from tests.fakes.apiserver.server import ApiServer
    from tests.simulation.cluster import SimCluster

JSON = dict[str, Any]
USUAL, RARE = 4, 1
"""How often an event is chosen in relation to others."""


class Events:
    """A part of ``Chaos``: each ``do_…`` method is one event, and returns at once what people are told."""

    cluster: SimCluster
    server: ApiServer
    rng: random.Random
    restoring = 0
    """How many restores of the API server's store have not ended; peace waits for them."""
    applied: JSON | None = None
    """The spec of the configuration as it was when somebody last deleted it."""

    def _pick(self, resource: names.Resource, namespace: str = "") -> JSON | None:
        found = self.server.all(resource, namespace)
        return self.rng.choice(found) if found else None

    def _apply_again(self) -> None:
        """Do what whoever deleted the configuration does: apply it, unless it is there."""
        if self.applied is not None and not self.cluster.configuration:
            self.cluster.configure(self.applied)

    def _later(self, seconds: float, undo: Any) -> None:
        asyncio.get_running_loop().call_later(seconds, undo, context=Context())
