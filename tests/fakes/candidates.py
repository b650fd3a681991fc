"""Candidates of a leader election, each with a network and a wall clock of its own."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from meshca.api.names import LEASE
from meshca.kube.gateway import Gateway
from meshca.kube.lease import Elector
from tests.fakes.apiserver.transport import FakeTransport
from tests.fakes.clock import LoopClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes.apiserver.server import ApiServer

JSON = dict[str, Any]
NS = "default"


class Candidate:
    """An elector with a network and a wall clock of its own."""

    def __init__(self, server: ApiServer, identity: str) -> None:
        self.user = f"system:{identity}"
        self.clock = LoopClock()
        self.elector = Elector(
            Gateway(FakeTransport(server, self.user)),
            namespace=NS,
            name="meshca",
            identity=identity,
            clock=self.clock,
            rng=random.Random(identity),
        )
        self.task = asyncio.create_task(self.elector.run())


@asynccontextmanager
async def candidates(server: ApiServer, *identities: str) -> AsyncIterator[list[Candidate]]:
    found = [Candidate(server, identity) for identity in identities]
    try:
        yield found
    finally:
        for one in found:
            one.task.cancel()
        await asyncio.gather(*(one.task for one in found), return_exceptions=True)


def lease_spec(server: ApiServer) -> JSON:
    lease = server.find(LEASE, "meshca", NS)
    assert lease is not None
    return dict(lease["spec"])
