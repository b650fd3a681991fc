"""What machines and networks do: processes die and freeze, lines break, watches are late, clocks step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshca.api import names
from tests.simulation import network
from tests.simulation.events import RARE, USUAL, Events

if TYPE_CHECKING:
    from tests.simulation.replica import Node

MOST_SKEW = 300


class Machines(Events):
    """Events of ``Chaos``."""

    def _node(self) -> Node:
        leaders = [node for node in self.cluster.nodes if node.leads]
        if leaders and self.rng.random() < 0.8:
            return self.rng.choice(leaders)
        return self.rng.choice(self.cluster.nodes)

    def do_crash(self) -> str:
        """Kill a process before one of its next callbacks, whichever that is."""
        node = self._node()
        if node.replica is None:
            return "none"
        node.replica.countdown = self.rng.choice((0, 10, 100, 1000)) + self.rng.randrange(100)
        return f"{node.name} in {node.replica.countdown} callbacks"

    do_crash.weight = 3 * USUAL  # type: ignore[attr-defined]

    def do_crash_loop(self) -> str:
        """Kill each process on a node soon after its start, for a while."""
        node = self._node()
        node.lifetime = self.rng.choice((50, 500, 3000))
        self._later(self.rng.choice((20, 120)), lambda: setattr(node, "lifetime", 0))
        return f"{node.name} within {node.lifetime} callbacks"

    def do_stop(self) -> str:
        node = self._node()
        if node.replica is not None:
            node.replica.stop.set()
        return node.name

    def do_freeze(self) -> str:
        """Stop a process for a while, as SIGSTOP or a slow disk does: it believes that it still leads."""
        node = self._node()
        replica = node.replica
        if replica is None:
            return "none"
        replica.freeze()
        seconds = self.rng.choice((3, 12, 20, 60))

        self._later(seconds, replica.thaw)
        return f"{node.name} {seconds} s"

    do_freeze.weight = 2 * USUAL  # type: ignore[attr-defined]

    def do_partition(self) -> str:
        node = self._node()
        node.network.blocked = True
        seconds = self.rng.choice((2, 8, 20, 120))
        self._later(seconds, lambda: setattr(node.network, "blocked", False))
        return f"{node.name} {seconds} s"

    do_partition.weight = 2 * USUAL  # type: ignore[attr-defined]

    def do_deaf(self) -> str:
        """Let a node's watches hang; calls go on."""
        node = self._node()
        node.network.deaf = True
        seconds = self.rng.choice((5, 60, 300))
        self._later(seconds, lambda: setattr(node.network, "deaf", False))
        return f"{node.name} {seconds} s"

    def do_weather(self) -> str:
        weather = self.rng.choice((network.FINE, network.FAIR, network.ROUGH, network.STORM))
        node = self._node()
        node.network.weather = weather
        return f"{node.name} {weather}"

    def do_clock(self) -> str:
        """Step a wall clock, at most five minutes away from the truth."""
        places = [*((node.name, node.clock) for node in self.cluster.nodes), ("server", self.cluster.clock)]
        name, clock = self.rng.choice(places)
        step = self.rng.choice((0, 0, -MOST_SKEW, -70, 70, MOST_SKEW))
        clock.step(step - clock.offset)
        return f"{name} {step:+} s"

    def right_clocks(self) -> None:
        for clock in (*(node.clock for node in self.cluster.nodes), self.cluster.clock):
            clock.step(-clock.offset)

    def do_server_down(self) -> str:
        self.server.down = True
        seconds = self.rng.choice((1, 10, 60))
        self._later(seconds, lambda: setattr(self.server, "down", self.restoring > 0))
        return f"{seconds} s"

    do_server_down.weight = RARE  # type: ignore[attr-defined]

    def do_cut_watches(self) -> str:
        return str(self.server.cut_watches(half_line=self.rng.random() < 0.5))

    def do_silence(self) -> str:
        resource = self.rng.choice(
            (names.LEAF, names.SECRET, names.CONFIG_MAP, names.CA_ROOT, names.CA_CONFIGURATION)
        )
        return f"{resource.kind} {self.server.silence_watches(resource)}"

    def do_compact(self) -> None:
        self.server.compact()
        self.server.cut_watches()
