"""Nodes and the operator processes on them: started, frozen, killed and started again.

Runs the product's own ``Process`` (election, leading, stepping down) and ``Leader``; in place of threads,
sockets and Kopf it has tasks of the one loop, a simulated network and ``watching.KopfLike``.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, contextmanager
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

from meshca.kube.gateway import Gateway
from meshca.runtime import leader, links, process
from tests.fakes.clock import LoopClock
from tests.fakes.engine import OPERATOR, settings
from tests.simulation.loop import OWNER, SimLoop
from tests.simulation.network import Network, SimTransport
from tests.simulation.uplink import LinksHere, LinkTransport, Mail
from tests.simulation.watching import KopfLike

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from meshca.kube.credentials import FixedToken
    from meshca.kube.lease import Elector
    from meshca.planning.joining import Join
    from tests.fakes.apiserver.server import ApiServer


class Replica:
    """One operator process, from its start to its end."""

    def __init__(self, node: Node, number: int) -> None:
        self.node = node
        self.name = f"{node.name}.{number}"
        self.countdown: int | None = None
        """Callbacks that it may still run before it is killed; None: no end is near."""
        self.transport = SimTransport(node.server, node.network, OPERATOR, self.name)
        self.stop = asyncio.Event()
        self.task: asyncio.Task[int]
        self.rng = node.rng
        self.mail = Mail()
        """Between the engine and the links, which have a thread each in the product."""

    def step(self) -> None:
        if self.countdown is not None:
            self.countdown -= 1
            if self.countdown < 0:
                self.kill()

    def start(self) -> None:
        context = Context()
        context.run(OWNER.set, self)
        loop = asyncio.get_running_loop()
        self.task = loop.create_task(self._run(), context=context, name=self.name)

    async def _run(self) -> int:
        chosen = settings(pod_name=self.node.name, **self.node.settings)
        return await _Process(chosen, self.node.clock)._stand(Gateway(self.transport), self.stop)

    def freeze(self) -> None:
        """Stop it as SIGSTOP does: it neither runs nor knows."""
        _loop().frozen.add(self)

    def thaw(self) -> None:
        _loop().frozen.discard(self)

    def kill(self) -> None:
        """End it here and now: nothing that it does from now on reaches anybody."""
        self.countdown = None
        self.thaw()
        self.transport.kill()
        self.task.cancel()

    async def ended(self) -> None:
        """Wait for its end, and end what it left running, as the end of a real process does."""
        await asyncio.wait([self.task])
        self.transport.kill()
        loop = asyncio.get_running_loop()
        left = [task for task in asyncio.all_tasks(loop) if getattr(task, "owner", None) is self]
        for task in sorted(left, key=hash):
            task.cancel()
        if left:
            await asyncio.wait(left)
        for task in (self.task, *left):
            if not task.cancelled() and (error := task.exception()) is not None:
                self.node.broke(self.name, error)


class Node:
    """Where one replica of the Deployment runs: a clock, a network, and something that starts it again."""

    def __init__(
        self, name: str, server: ApiServer, rng: random.Random, *, broke: Callable[[str, BaseException], None]
    ) -> None:
        self.name = name
        self.server = server
        self.rng = rng
        self.clock = LoopClock()
        self.network = Network(rng)
        self.uplink = Network(rng)
        """To the primaries, by address in ``reach``."""
        self.reach: dict[str, ApiServer] = {}
        self.settings: dict[str, Any] = {}
        self.broke = broke
        self.replica: Replica | None = None
        self.starts = 0
        self.patience = 5.0
        self.lifetime = 0
        """Callbacks after which each process is killed at the latest; 0: it is left alone."""
        self._keeper: asyncio.Task[None] | None = None

    def up(self) -> None:
        """Run the replica, and run it again whenever it ends."""
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._keep(), context=Context())

    async def down(self, *, graceful: bool = True) -> None:
        """End the replica for good."""
        keeper, self._keeper = self._keeper, None
        replica = self.replica
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        if replica is not None:
            replica.thaw()
            if graceful:
                replica.stop.set()
            else:
                replica.kill()
            await replica.ended()
            self.replica = None

    @property
    def leads(self) -> bool:
        replica = self.replica
        return replica is not None and replica.name in _LEADING

    async def _keep(self) -> None:
        while True:
            self.starts += 1
            self.replica = Replica(self, self.starts)
            if self.lifetime:
                self.replica.countdown = self.rng.randrange(self.lifetime)
            self.replica.start()
            await self.replica.ended()
            self.replica = None
            await asyncio.sleep(self.rng.uniform(0.1, self.patience))


class _Process(process.Process):
    """Leads in the same loop; everything else is the product's."""

    async def _lead(self, elector: Elector) -> None:
        led = self._leader = leader.Leader(
            self._settings,
            self._clock,
            fence=elector.remaining,
            telemetry=self._metrics,
            pulse=self._pulse,
        )
        replica = OWNER.get()
        assert isinstance(replica, Replica)
        _LEADING.add(replica.name)
        running = asyncio.get_running_loop().create_task(led.run())
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            led.stop()
            raise
        finally:
            _LEADING.discard(replica.name)


def _loop() -> SimLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimLoop)
    return loop


_LEADING: set[str] = set()


def _present() -> Replica:
    replica = OWNER.get()
    assert isinstance(replica, Replica)
    return replica


def _dial(join: Join, token: FixedToken) -> LinkTransport:
    replica = _present()
    node = replica.node
    made = LinkTransport(node.reach[join.server], node.uplink, token, replica.name)
    replica.transport.take_along(made)
    return made


@contextmanager
def wired() -> Iterator[None]:
    """Connect the product's leader to the simulated network inside."""
    watches = KopfLike(lambda: Gateway(_present().transport), lambda: _present().rng)
    _LEADING.clear()
    with ExitStack() as stack:
        for name, new in (
            ("in_cluster", lambda *_: None),
            ("Session", lambda *_, may_write: _present().transport.fenced(may_write)),
            ("LinkThread", LinksHere),
            ("watches", watches),
        ):
            stack.enter_context(mock.patch.object(leader, name, new))
        stack.enter_context(mock.patch.object(links, "Links", partial(links.Links, connect=_dial)))
        stack.enter_context(mock.patch.object(links, "_call", lambda _, *what: _present().mail.send(*what)))
        yield
