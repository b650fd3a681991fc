"""What a secondary asks for waits its turn: it delays no leaf, no other secondary, no CA decision."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from meshca.clock import SystemClock
from meshca.engine.federation import FederationIntake, federated_key, intermediate_key
from meshca.engine.intake import configuration_key, leaf_key
from meshca.engine.outcome import Outcome
from meshca.engine.queue import Key, Urgency, WorkQueue
from meshca.engine.timers import Timers
from meshca.engine.workers import Workers

pytestmark = pytest.mark.looptime

FLOOD = 500
PLACES = {"west": "meshca-fed-west", "east": "meshca-fed-east"}


class Primary:
    """The queue of a primary, with as much before it as a secondary cares to ask for."""

    def __init__(self) -> None:
        self.queue = WorkQueue(max_in_flight=2)
        self.fired: list[tuple[Key, Urgency]] = []
        self.rung = asyncio.Event()
        self.timers = Timers(SystemClock(), self._fire)
        self.intake = FederationIntake(self.queue, self.timers, lambda _: None)

    def _fire(self, key: Key, urgency: Urgency) -> None:
        self.fired.append((key, urgency))
        self.rung.set()

    def ask(self, cluster: str, count: int) -> None:
        """Take in requests as the watch tells of them."""
        for number in range(count):
            name = f"{cluster}-{number}"
            meta = {"name": name, "namespace": PLACES[cluster], "uid": name, "resourceVersion": "1"}
            spec = {"clusterName": cluster, "caConfigurationName": "default", "request": "none"}
            self.intake.request("ADDED", {"metadata": meta, "spec": spec})

    async def turns(self, key: Key) -> int:
        """Return how many others come before a key."""
        before = 0
        while (item := await self.queue.get()) is not None and item.key != key:
            self.queue.done(item.key)
            before += 1
        self.queue.done(key)
        return before


@pytest.mark.parametrize("urgency", [Urgency.EXPIRING, Urgency.FIRST, Urgency.RENEWAL, Urgency.REISSUE])
async def test_a_flood_from_one_secondary_delays_no_leaf_by_more_than_a_turn(urgency: Urgency) -> None:
    primary = Primary()
    primary.queue.set_limits("default", reissue_per_second=0)
    primary.ask("west", FLOOD)
    for number in range(3):
        primary.queue.add(leaf_key("shop", f"web-{number}"), urgency, "default")
        assert await primary.turns(leaf_key("shop", f"web-{number}")) <= 1


async def test_a_flood_from_one_secondary_delays_no_ca_decision() -> None:
    primary = Primary()
    primary.ask("west", FLOOD)
    primary.queue.add(configuration_key("default"), Urgency.CONTROL)
    assert await primary.turns(configuration_key("default")) == 0


async def test_a_flood_from_one_secondary_delays_no_other() -> None:
    primary = Primary()
    primary.ask("west", FLOOD)
    primary.ask("east", 2)
    for number in range(2):
        assert await primary.turns(intermediate_key(PLACES["east"], f"east-{number}")) <= 1


async def test_looking_at_all_requests_again_is_no_more_urgent() -> None:
    primary = Primary()
    primary.ask("west", FLOOD)
    for look in (
        primary.intake.look_at_all,
        primary.intake.admission_changed,
        lambda: primary.intake.signing_root_changed("default"),
    ):
        look()
        assert primary.queue.depth()[Urgency.CONTROL] == 0
    assert primary.queue.depth()[Urgency.SPREAD] == FLOOD


def registered(cluster: str, seen: str) -> dict[str, Any]:
    spec = {
        "clusterName": cluster,
        "caConfigurationName": "default",
        "namespace": PLACES[cluster],
        "requester": {"username": f"system:serviceaccount:{PLACES[cluster]}:meshca"},
    }
    return {"metadata": {"name": cluster, "uid": cluster, "generation": 1}, "spec": spec} | {
        "status": {"lastSeen": seen}
    }


async def test_a_secondary_that_reports_without_pause_delays_no_ca_decision_and_no_leaf() -> None:
    primary = Primary()
    primary.intake.cluster("ADDED", registered("west", "2026-01-01T00:00:00Z"))
    registration = federated_key("west")
    assert await primary.turns(registration) == 0, "what an administrator registers is looked at first"
    for second in range(1, 4):
        primary.intake.cluster("MODIFIED", registered("west", f"2026-01-01T00:00:0{second}Z"))
        primary.queue.add(configuration_key("default"), Urgency.CONTROL)
        assert await primary.turns(configuration_key("default")) == 0
        primary.queue.add(leaf_key("shop", f"web-{second}"), Urgency.FIRST, "default")
        assert await primary.turns(leaf_key("shop", f"web-{second}")) <= 1
    assert primary.queue.depth()[Urgency.CONTROL] == 0


class Requests:
    """A reconciler that wants to look at a request once more, at once."""

    def __init__(self, queue: WorkQueue) -> None:
        self._queue = queue

    async def reconcile(self, _namespace: str, _name: str) -> tuple[Outcome, datetime]:
        self._queue.close()
        return Outcome(), datetime.now(UTC)


async def test_a_request_that_is_looked_at_again_is_no_more_urgent() -> None:
    primary, nobody = Primary(), cast("Any", None)
    primary.ask("west", 1)
    workers = Workers(
        queue=primary.queue,
        timers=primary.timers,
        configurations=nobody,
        leaves=nobody,
        publisher=nobody,
        admissions=nobody,
        registrations=nobody,
        intermediates=cast("Any", Requests(primary.queue)),
    )
    await workers.run(1)
    await primary.rung.wait()
    assert primary.fired == [(intermediate_key(PLACES["west"], "west-0"), Urgency.SPREAD)]
