"""What is measured, in which order, with how many rounds.

Both sides of a comparison take turns within a round, because the same figure differs by a factor of two
within hours on a shared machine. A round with ten thousand leaves begins on an empty cluster.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from e2e import installation, workload
from e2e.bench import meter
from e2e.bench.names import BARE, OPERATOR
from e2e.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.audit import AuditEvent
    from e2e.bench.world import World

JSON = dict[str, Any]
ACCOUNT = f"system:serviceaccount:{installation.NAMESPACE}:meshca"
CONFIGURATION = f"{installation.CONFIGURATIONS}/{installation.DEFAULT['metadata']['name']}"
SETTLED_CPU = 0.1
"""Part of a core below which a restarted operator has nothing left to look at."""
QUIET_SECONDS = 10.0
SAMPLE_SECONDS = 0.5
ROTATION_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    rounds: int = 5
    count: int = 1_000
    large_rounds: int = 3
    large: int = 10_000
    rotating: int = 2_000


QUICK = Sizes(rounds=1, count=300, large_rounds=1, large=1_000, rotating=200)
FULL = Sizes()


class Measures:
    """Runs everything in one cluster; ``tell`` hears what was done."""

    def __init__(self, world: World, sizes: Sizes, tell: Callable[[str], None]) -> None:
        self._world = world
        self._sizes = sizes
        self._tell = tell
        self.results: JSON = {"sizes": asdict(sizes)}

    def run(self) -> JSON:
        """Measure everything and return it."""
        self._rounds()
        self._large()
        self._rotation()
        return self.results

    # --- rates and what a leaf costs ------------------------------------------------------------

    def _rounds(self) -> None:
        found: JSON = {"csr": [], "managed": [], "half": [], BARE: []}
        for number in range(self._sizes.rounds):
            places = [f"{kind}-{number}" for kind in found]
            with self._world.with_operator() as gauge:
                for place in places[:3]:
                    self._world.place(place, bundle=True)
                csr = self._world.load(gauge, places[0], self._sizes.count)
                found["csr"].append(csr)
                found["managed"].append(self._world.load(gauge, places[1], self._sizes.count, "--managed"))
                rate = ("--rate", f"{csr['rate'] / 2:.1f}")
                found["half"].append(self._world.load(gauge, places[2], self._sizes.count, *rate))
            self._world.place(places[3], bundle=False)
            with self._world.with_bare() as gauge:
                found[BARE].append(self._world.load(gauge, places[3], self._sizes.count))
            self._world.clear(*places)
            self._tell(f"round {number + 1} of {self._sizes.rounds}: {_said(found)}")
        self.results["small"] = found

    def _large(self) -> None:
        found: JSON = {"csr": [], "managed": [], BARE: []}
        for number in range(self._sizes.large_rounds):
            last = number == self._sizes.large_rounds - 1
            places = [f"large-{kind}-{number}" for kind in found]
            found["csr"].append(self._large_side(places[0], restart=last))
            self._world.clear(places[0])
            found["managed"].append(self._large_side(places[1], "--managed"))
            self._world.clear(places[1])
            self._world.place(places[2], bundle=False)
            with self._world.with_bare() as gauge:
                found[BARE].append(self._world.load(gauge, places[2], self._sizes.large))
            self._world.clear(places[2])
            self._tell(f"large round {number + 1} of {self._sizes.large_rounds}: {_said(found)}")
        self.results["large"] = found

    def _large_side(self, place: str, *more: str, restart: bool = False) -> JSON:
        with self._world.with_operator() as gauge:
            self._world.place(place, bundle=True)
            leader = self._world.leader()
            meter.forget_peak(leader)
            figures = self._world.load(gauge, place, self._sizes.large, *more)
            figures["peak_mib"], figures["rss_mib"] = meter.peak_mib(leader), meter.rss_mib(leader)
            if restart:
                self._world.place("probe", bundle=True)
                self._world.until_published()
        if restart:
            self.results["restart"] = self._restart()
            self._world.clear("probe")
            self._tell(f"restarted: {self.results['restart']}")
        return figures

    # --- a restart ------------------------------------------------------------------------------

    def _restart(self) -> JSON:
        """Start the operator on leaves that are all ready; it has nothing to write."""
        world = self._world
        mark, before = world.cluster.audit_mark(), self._status()
        body = workload.leaf("probe", "first", request=workload.csr().pem)
        workload.create(world.cluster, body)
        started = time.perf_counter()
        with world.with_operator():
            leader = world.leader()
            ready = self._until_listed(started)
            workload.wait_reason(world.cluster, "probe", "first", "Issued", 120)
            first = time.perf_counter() - started
            settled = _until_settled(leader, started)
            cpu, peak = meter.cpu_seconds(leader), meter.peak_mib(leader)
            time.sleep(QUIET_SECONDS)
            writes = [event for event in self._own_writes(mark) if event.namespace != "probe"]
        return {
            "leaves": self._sizes.large,
            "ready_seconds": ready,
            "first_issue_seconds": first,
            "settled_seconds": settled,
            "cpu_seconds": cpu,
            "peak_mib": peak,
            "writes": len(writes),
            "changed": [name for name, value in self._status().items() if before.get(name) != value],
            "written": [f"{event.verb} {event.resource} {event.subresource}".strip() for event in writes],
        }

    def _status(self) -> JSON:
        found: JSON = self._world.cluster.request("GET", CONFIGURATION)["status"]
        return found

    def _until_listed(self, started: float) -> float:
        """Return the seconds from the start until the leader itself is ready, its leaves listed."""
        operator = self._world.operator
        while not operator.ready(self._world.leader_name()):
            time.sleep(0.05)
        return time.perf_counter() - started

    def _own_writes(self, mark: int) -> list[AuditEvent]:
        found = self._world.cluster.audit(mark)
        return [event for event in found if event.user == ACCOUNT and event.resource != "leases"]

    # --- a rotation -----------------------------------------------------------------------------

    def _rotation(self) -> None:
        world, count = self._world, self._sizes.rotating
        with world.with_operator() as gauge:
            world.place("turning", bundle=True)
            world.load(gauge, "turning", count, "--spec", '{"renewal": "Automatic"}')
            before = world.cluster.request("GET", CONFIGURATION)["status"]["activeRoot"]
            mark, begun = world.cluster.audit_mark(), gauge.read()
            wish = installation.DEFAULT["spec"] | {"rotation": {"trigger": "bench"}}
            world.cluster.apply(installation.DEFAULT | {"spec": wish})
            world.cluster.wait_for(
                lambda objects: _is_completed(objects, before), CONFIGURATION, ROTATION_SECONDS
            )
            ended = gauge.read()
            writes = self._own_writes(mark)
        leaves = [event for event in writes if event.resource == "leafcertificaterequests"]
        span = (leaves[-1].time - leaves[0].time).total_seconds()
        if not span:
            raise HarnessError("no leaf was moved by the rotation")
        self.results["rotation"] = {
            "leaves": count,
            "seconds": ended.at - begun.at,
            "reissue_seconds": span,
            "reissue_rate": len(leaves) / span,
            "leaf_writes": len(leaves) / count,
            "other_writes": len(writes) - len(leaves),
            "cpu": {name: value * 1000 / count for name, value in ended.since(begun).items()},
            "foreign": ended.foreign(begun),
        }
        self._tell(f"rotated: {self.results['rotation']}")


def _is_completed(objects: list[JSON], before: str) -> bool:
    for item in objects:
        status = item.get("status", {})
        for entry in status.get("conditions") or ():
            if entry["type"] == "RotationInProgress" and entry["reason"] == "Completed":
                return bool(status.get("activeRoot") != before)
    return False


def _until_settled(pid: int, started: float) -> float:
    """Return the seconds from ``started`` until a process uses hardly any CPU."""
    while True:
        at, used = time.perf_counter(), meter.cpu_seconds(pid)
        time.sleep(SAMPLE_SECONDS)
        if (meter.cpu_seconds(pid) - used) / (time.perf_counter() - at) < SETTLED_CPU:
            return at - started


def _said(found: JSON) -> str:
    parts = []
    for side, rounds in found.items():
        last = rounds[-1]
        own = last["cpu"].get(OPERATOR) or last["cpu"].get(BARE) or 0.0
        parts.append(f"{side} {last['rate']:.0f}/s {own:.2f} ms")
    return ", ".join(parts)
