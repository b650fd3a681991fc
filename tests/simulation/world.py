"""A world of clusters and its history: faults for a while, then peace, in which everything must come right.

Decides the order of a history, from the seed alone. One cluster by default; what several clusters have to do
with each other is for whoever makes the world.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
from contextvars import Context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.api.v1alpha1.scalars import parse_time
from meshca.engine.workers import SAFETY_NET
from tests.fakes.clock import LoopClock
from tests.fakes.engine import OPERATOR
from tests.simulation import settled
from tests.simulation.chaos import Chaos
from tests.simulation.cluster import SimCluster

if TYPE_CHECKING:
    from tests.fakes.apiserver.faults import AuditEntry

JSON = dict[str, Any]
GAPS = (0, 0, 0.001, 0.05, 0.5, 2, 5, 20, 120, 900)
"""Seconds between two events."""
PATIENCE = 4 * 3600.0
"""Seconds in which everything must have come right: roots that are queued wait for others' prunes."""
PRUNED_WITHIN = 5 * 3600.0
QUIET = 120.0
OVERDUE = 1800.0
"""Seconds of peace after which no leaf that is renewed by itself may have expired any more."""


@dataclass(frozen=True)
class Scope:
    """How long a history is: events, and how far the time after them is looked at."""

    events: int = 60
    prune: bool = True
    only: tuple[str, ...] = ()
    """Names of the events that may happen; all of them by default."""
    key_kinds: tuple[str, ...] = ()
    """Kinds of key that roots may have, the first one of them at first; by default any."""


@dataclass
class World:
    """Clusters on one clock, one seed, one trace."""

    seed: int
    scope: Scope = field(default_factory=Scope)
    clusters: int = 1
    story: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    ends: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"world {self.seed}")
        self.true = LoopClock()
        self._peace = math.inf
        self._trace = hashlib.blake2b(digest_size=12)
        self.all = [
            SimCluster(f"c{number}", random.Random(f"cluster {number} {self.seed}"), self.true, self.note)
            for number in range(self.clusters)
        ]
        self.chaos: list[Chaos] = [self._chaos(cluster) for cluster in self.all]

    def _chaos(self, cluster: SimCluster) -> Chaos:
        return Chaos(cluster, self.rng, self.tell, self.scope.only, self.scope.key_kinds)

    @property
    def trace(self) -> str:
        """Return the digest of every request and every change so far."""
        return self._trace.hexdigest()

    def note(self, text: str) -> None:
        self._trace.update(f"{self.true.monotonic():.9f} {text}\n".encode())

    def tell(self, text: str) -> None:
        self.story.append(f"{self.true.monotonic():>12.3f}  {text}")
        self.note(text)

    async def run(self) -> None:
        """Live through a history; whatever was found stands in ``found``."""
        holders = asyncio.get_running_loop().create_task(self._holders(), context=Context())
        try:
            await self._history()
        finally:
            holders.cancel()
            await asyncio.wait([holders])
            for cluster in self.all:
                await cluster.down(graceful=False)
            for task in sorted(asyncio.all_tasks() - {asyncio.current_task()}, key=hash):
                task.cancel()

    async def _history(self) -> None:
        await self._begins()
        for _ in range(self.scope.events):
            self.rng.choice(self.chaos).act()
            await asyncio.sleep(self.rng.choice(GAPS) * self.rng.uniform(0.5, 1.5))
            if self.judged():
                return
        await self._endures()
        for chaos in self.chaos:
            chaos.peace()
        self._peace = self.true.monotonic()
        if not self.judged():
            await self._comes_right()
        for cluster in self.all:
            if not self.judged():
                await self._is_quiet(cluster)
        self.judged()

    async def _begins(self) -> None:
        for chaos in self.chaos:
            chaos.begin()
        await asyncio.sleep(self.rng.choice((0, 20, 120)))

    async def _endures(self) -> None:
        """Live through what comes between the events and peace: nothing, in one cluster."""

    def owed(self) -> str:
        """Say the first thing that is not yet as it was asked for, or ""."""
        return next((said for cluster in self.all if (said := settled.owed(cluster))), "")

    def left_over(self) -> str:
        """Say what should be gone by now, or ""."""
        return next((said for cluster in self.all if (said := settled.left_over(cluster))), "")

    def judged(self) -> bool:
        """Collect what the judges found; tells whether there is anything."""
        for cluster in self.all:
            cluster.judge.everything()
            for text in (*cluster.judge.found, *cluster.broken):
                if text not in self.found:
                    self.found.append(text)
        return bool(self.found)

    async def _until(self, what: Any, seconds: float) -> str:
        """Wait until ``what`` has nothing to say any more; returns what it says at the end."""
        end, pause = self.true.monotonic() + seconds, 1.0
        said = str(what())
        while said and self.true.monotonic() < end and not self.judged():
            await asyncio.sleep(pause)
            for chaos in self.chaos:
                chaos.repair()
            pause = min(pause * 1.3, 60.0)
            said = str(what())
            if any(cluster.condition("Ready")[1] == "RootKeyMissing" for cluster in self.all):
                # Nobody can sign until a person's way out is through.
                self._peace = self.true.monotonic()
            if self.true.monotonic() > self._peace + OVERDUE:
                self.found += [f"I8: in peace, {text}" for c in self.all for text in settled.overdue(c)]
        return said

    async def _comes_right(self) -> None:
        begun = self.true.monotonic()
        said = await self._until(self.owed, PATIENCE)
        if said and not self.judged():
            self.found.append(f"I8: not within {PATIENCE:.0f} s: {said}")
            return
        self.ends["right"] = self.true.monotonic() - begun
        # What no watch tells is noticed by the safety net.
        await asyncio.sleep(SAFETY_NET + 60)
        if self.scope.prune:
            # One replica is enough to wait with, and costs half.
            for cluster in self.all:
                for node in [node for node in cluster.nodes if not node.leads][: cluster.replicas - 1]:
                    await node.down()
            said = await self._until(lambda: self.left_over() or self.owed(), PRUNED_WITHIN)
            if said and not self.judged():
                self.found.append(f"I8: not within {PRUNED_WITHIN:.0f} s: {said}")
            self.ends["pruned"] = self.true.monotonic() - begun
            for cluster in self.all:
                cluster.up()
        self.tell("everything is right")

    async def _is_quiet(self, cluster: SimCluster) -> None:
        """I7 and I6: an issue costs what it may, and a change of leaders nothing at all."""
        server, numbers = cluster.server, self.rng.randrange(10**6)
        await self._until(lambda: self._due_soon(cluster, QUIET + 60), 3600)
        server.audit.clear()
        csr, managed = f"quiet-csr-{numbers}", f"quiet-managed-{numbers}"
        asks = {"serviceAccountName": "web"}
        self._make(cluster, csr, asks | {"request": self.chaos[0].csr})
        self._make(cluster, managed, asks | {"secretName": managed})
        said = await self._until(self.owed, 120)
        if said:
            self.found.append(f"I8: not within 120 s in peace: {said}")
        await asyncio.sleep(QUIET)
        for name, most in ((csr, 1), (managed, 2)):
            written = [entry for entry in self._written(cluster) if entry.info.name == name]
            if len(written) > most:
                self.found.append(f"I7: {len(written)} writes of the operator for {name}: {written}")
        await self._until(lambda: self._due_soon(cluster, QUIET + 60), 3600)
        server.audit.clear()
        self.tell("change of leaders")
        leaders = [node for node in cluster.nodes if node.leads and node.replica is not None]
        for node in leaders:
            assert node.replica is not None
            if self.rng.random() < 0.5:
                node.replica.kill()
            else:
                node.replica.stop.set()
        await asyncio.sleep(QUIET)
        if written := self._written(cluster):
            self.found.append(f"I6: a change of leaders wrote {written[:5]}")
        if said := self.owed():
            self.found.append(f"I6: after a change of leaders {said}")

    def _due_soon(self, cluster: SimCluster, seconds: float) -> str:
        """Say which leaf is renewed within so many seconds, so that a quiet moment can be waited for."""
        now = cluster.true.now()
        for leaf in cluster.server.all(names.LEAF):
            renew_at = (leaf.get("status") or {}).get("renewAt")
            if renew_at and -seconds < (parse_time(renew_at) - now).total_seconds() < seconds:
                return f"{leaf['metadata']['name']} is renewed at {renew_at}"
        return ""

    def _written(self, cluster: SimCluster) -> list[AuditEntry]:
        return [
            entry
            for entry in cluster.server.writes(user=OPERATOR)
            if entry.info.resource not in {names.LEASE, names.EVENT}
        ]

    def _make(self, cluster: SimCluster, name: str, spec: JSON) -> None:
        body = {"metadata": {"name": name, "namespace": "shop"}, "spec": spec}
        cluster.server.create(names.LEAF, body)

    async def _holders(self) -> None:
        """Do what holders are told to do: ask again when a Manual leaf is due, or was refused for good."""
        while True:
            await asyncio.sleep(60)
            for cluster in self.all:
                for leaf in cluster.server.all(names.LEAF):
                    if _asks_again(cluster, leaf):
                        meta = leaf["metadata"]
                        cluster.server.delete(names.LEAF, meta["name"], meta["namespace"])
                        again = {
                            "metadata": {k: meta[k] for k in ("name", "namespace")},
                            "spec": leaf["spec"],
                        }
                        cluster.server.create(names.LEAF, again)


def _asks_again(cluster: SimCluster, leaf: JSON) -> bool:
    status, spec = leaf.get("status") or {}, leaf["spec"]
    if leaf["metadata"].get("deletionTimestamp"):
        return False
    if status.get("state") == "Failed":
        return True
    if "secretName" in spec or spec.get("renewal") == "Automatic" or not status.get("renewAt"):
        return False
    return status["state"] == "Rotate" or parse_time(status["renewAt"]) <= cluster.true.now()
