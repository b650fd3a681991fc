"""The leader is killed after every write that it makes for a CA: the next one goes on from what is there.

While a root is being made and another being pruned, and a burst of managed leaves is being issued, each
leader lives until the API server's audit log tells of one more write of its own. No root and no key is made
twice, and none is lost.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from e2e import audit, scenario, workload
from e2e.client import path_of
from e2e.mesh import rotation
from e2e.runtime import fleet
from e2e.stress.stream import Stream
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.cluster import Cluster
    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
SECONDS = 60.0
LEAST, MOST = 6, 16
"""Leaders that have to be killed for the test to mean anything, and those that are at most."""


def wait_write(cluster: Cluster, about: tuple[str, ...], over: Callable[[], bool]) -> bool:
    """Return True as soon as the operator has written something for one of these CAs, False once it is over.

    From the log's file itself, because a leader needs no longer for its next write than a question takes.
    """
    place, began = cluster.audit_log.stat().st_size, time.monotonic()
    asked = began
    while (now := time.monotonic()) < began + SECONDS:
        for event in audit.read(cluster.audit_log, place):
            named = any(name in event.name for name in about)
            if event.user == scenario.OPERATOR and event.succeeded and named:
                return True
        if now > asked + 0.5:
            asked = now
            if over():
                return False
        time.sleep(0.002)  # a file has no watch that is the same on every system
    raise AssertionError("nothing was written any more, and it is not over")


def is_ready(cluster: Cluster, name: str) -> bool:
    return bool(scenario.ready(cluster.request("GET", scenario.path(name))).get("status") == "True")


def is_gone(cluster: Cluster, root: str) -> bool:
    return cluster.exchange("GET", path_of(names.CA_ROOT, name=root)).status == 404


def rotated(cluster: Cluster, room: str) -> tuple[str, str]:
    """Make a CA and rotate it; return its name and the root that is to be pruned."""
    body = scenario.configuration(room)
    name = body["metadata"]["name"]
    cluster.apply(body)
    old = cluster.wait(scenario.path(name), timeout=SECONDS)["status"]["activeRoot"]
    rotation.begin(cluster, name)
    rotation.follow(cluster, name, old)
    return name, old


def test_212_a_leader_killed_after_each_write_of_a_bootstrap_and_a_prune_leaves_what_the_next_one_ends(
    disturbed: Installation, room: str
) -> None:
    cluster = disturbed.cluster
    pruned, old = rotated(cluster, room)
    fresh = scenario.configuration(room)
    name = fresh["metadata"]["name"]
    mark = cluster.audit_mark()

    def over() -> bool:
        return is_ready(cluster, name) and is_gone(cluster, old)

    kills = 0
    with Stream(cluster, room, seconds=5, total=60) as stream:
        cluster.apply(fresh)
        at = path_of(names.CA_ROOT, name=old)
        notes = {names.ANNOTATION_PRUNE_NOW: cluster.request("GET", at)["status"]["fingerprint"]}
        cluster.request("PATCH", at, {"metadata": {"annotations": notes}})
        while kills < MOST and wait_write(cluster, (name, pruned), over):
            fleet.kill_leader(disturbed)
            kills += 1
    assert kills >= LEAST
    print(f"leaders killed: {kills}")
    stream.judge()
    cluster.wait(scenario.path(name), timeout=SECONDS)
    scenario.wait_gone(cluster, path_of(names.CA_ROOT, name=old), SECONDS)

    assert scenario.made_since(cluster, mark, name) == {"root": 1, "signer": 1, "CARoot": 1}
    assert scenario.made_since(cluster, mark, pruned) == {}
    for ca in (name, pruned):
        active = rotation.active(cluster, ca)
        authority = scenario.authority(cluster, ca)
        assert list(authority.roots) == [active]
        assert len(authority.secrets) == 2, "a root key and a signer"
        issued = scenario.issue(cluster, room, f"after-{ca}", ca)
        assert workload.certificates(issued["status"]["certificateChain"])
        cluster.request("DELETE", scenario.path(ca))
    disturbed.operator.wait_ready()
