"""Histories of a mesh: a primary and two secondaries, the lines between them, and what they owe each other.

Decides what such a history has besides: joining, a siege before peace in which no secondary reaches its
primary, and what has to be true of all clusters at the end.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.api.v1alpha1.scalars import parse_time
from meshca.errors import InvalidError
from meshca.planning.joining import read_join
from tests.fakes.engine import NAMESPACE
from tests.simulation.meshchaos import PrimaryChaos, SecondaryChaos
from tests.simulation.meshjudge import MeshJudge
from tests.simulation.world import GAPS, Scope, World

if TYPE_CHECKING:
    from datetime import datetime

    from tests.fakes.apiserver.wire import Request
    from tests.simulation.chaos import Chaos
    from tests.simulation.cluster import SimCluster

JSON = dict[str, Any]
CLUSTERS = 3
JOINED_WITHIN = 3600.0
SIEGES = (300, 900, 2400)
"""Seconds for which the secondaries are without their primary; events go on there."""
SETTLED = 420.0
"""Seconds in which a cluster without its primary, and without other faults, is able to issue again."""
ISSUED_WITHIN = 300.0
WHOLE = Scope(events=80)


class Mesh(World):
    """Clusters of one mesh; the first is the primary."""

    def __init__(self, seed: int, scope: Scope) -> None:
        super().__init__(seed, scope, CLUSTERS)
        self.judge = MeshJudge(self.all)
        for cluster in self.secondaries:
            for node in cluster.nodes:
                node.uplink.told = self._listener(cluster)

    @property
    def primary(self) -> SimCluster:
        return self.all[0]

    @property
    def secondaries(self) -> list[SimCluster]:
        return self.all[1:]

    @property
    def _followers(self) -> list[SecondaryChaos]:
        return [chaos for chaos in self.chaos if isinstance(chaos, SecondaryChaos)]

    def _chaos(self, cluster: SimCluster) -> Chaos:
        if cluster is self.primary:
            return PrimaryChaos(cluster, self.rng, self._telling(cluster), self.scope.only)
        cluster.follows = self.primary
        return SecondaryChaos(cluster, self.primary, self.rng, self._telling(cluster), self.scope.only)

    def _telling(self, cluster: SimCluster) -> Any:
        return lambda text: self.tell(f"{cluster.name}  {text}")

    def _listener(self, cluster: SimCluster) -> Any:
        def told(who: str, request: Request, code: int) -> None:
            self.note(f"{who} at {self.primary.name} {request.method} {request.path} {code}")
            self.judge.sent(request, cluster)

        return told

    async def _begins(self) -> None:
        """Have the secondaries join, one after the other or at once, at a moment that the seed decides."""
        await super()._begins()
        chaos = self.chaos[0]
        for _ in range(self.rng.choice((0, 0, 6)) if self.scope.events > 10 else 0):
            chaos.act()
            await asyncio.sleep(self.rng.choice(GAPS))
        # No first root is made while the clocks differ, and nobody would put them right before peace.
        chaos.right_clocks()
        if said := await self._until(self._yet_to_join, JOINED_WITHIN):
            self.found.append(f"I8: not joined within {JOINED_WITHIN:.0f} s: {said}")

    def _yet_to_join(self) -> str:
        return ", ".join(chaos.cluster.name for chaos in self._followers if not chaos.joined)

    async def _endures(self) -> None:
        """I10: whatever becomes of the primary, a cluster whose signer lives goes on issuing."""
        for chaos in self._followers:
            chaos.siege()
        self.tell("siege")
        end = self.true.monotonic() + self.rng.choice(SIEGES) + SETTLED
        await asyncio.sleep(SETTLED)
        while self.true.monotonic() < end and not self.judged():
            self.chaos[0].act()
            await asyncio.sleep(self.rng.uniform(30, 300))
        asked = [
            (cluster, self._ask(cluster))
            for cluster in self.secondaries
            if self.judge.signer_of(cluster, 3 * ISSUED_WITHIN)
        ]
        await asyncio.sleep(ISSUED_WITHIN)
        for cluster, name in asked:
            leaf = cluster.server.find(names.LEAF, name, "shop") or {}
            if (state := (leaf.get("status") or {}).get("state")) != "Issued":
                self.found.append(f"I10: {cluster.name} does not issue without its primary: {state}")
        for chaos in self._followers:
            chaos.relief()

    def _ask(self, cluster: SimCluster) -> str:
        name = f"siege-{self.rng.randrange(10**6)}"
        self._make(
            cluster,
            name,
            {"serviceAccountName": "web", "request": self.chaos[0].csr, "renewal": "Automatic"},
        )
        return name

    def judged(self) -> bool:
        self.judge.everything()
        return super().judged()

    def owed(self) -> str:
        return super().owed() or next(filter(None, map(self._owed, self.secondaries)), "")

    def _owed(self, cluster: SimCluster) -> str:
        """Say what a secondary and its registration lack."""
        if (found := cluster.condition("Reachable"))[0] != "True":
            return f"{cluster.name} is not Reachable: {found}"
        mine = self.primary.server.find(names.FEDERATED_CLUSTER, cluster.name) or {}
        told = {c["type"]: c for c in (mine.get("status") or {}).get("conditions") or ()}
        for kind in ("Ready", "Reachable", "Converged"):
            if (told.get(kind) or {}).get("status") != "True":
                return f"FederatedCluster {cluster.name} is not {kind}: {told.get(kind)}"
        return ""

    def left_over(self) -> str:
        if said := super().left_over():
            return said
        digests = {(cluster.status.get("bundle") or {}).get("digest") for cluster in self.all}
        return "" if len(digests) == 1 else f"the bundles differ: {digests}"

    def _due_soon(self, cluster: SimCluster, seconds: float) -> str:
        """Also wait for what the clusters of a mesh do for each other by the clock."""
        return next(
            (
                f"something of {one.name} is due at {moment}"
                for one in self.all
                for moment in _dues(one)
                if -seconds < (moment - self.true.now()).total_seconds() < seconds
            ),
            "",
        ) or super()._due_soon(cluster, seconds)


def _dues(cluster: SimCluster) -> list[datetime]:
    """Return when a signer and a token of a cluster are renewed."""
    signer = (cluster.status.get("signer") or {}).get("renewAt")
    found = [parse_time(signer)] if signer else []
    secret = cluster.server.find(names.SECRET, names.join_secret("default"), NAMESPACE)
    if secret is not None:
        try:
            join = read_join(secret)
        except InvalidError:
            return found
        if join.issued is not None and join.expires is not None:
            found.append(join.issued + (join.expires - join.issued) / 2)
    return found
