"""The leader is killed in every phase of a rotation: the next one finishes it and makes nothing twice."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from e2e import scenario
from e2e.client import path_of
from e2e.mesh import rotation
from e2e.rotation import history, population
from e2e.rotation.recorder import Recorder
from e2e.runtime import fleet
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.cluster import Cluster
    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
SECONDS = 40.0


def phase_is(phase: str) -> Callable[[JSON], bool]:
    return lambda body: rotation.progress(body).phase == phase


def is_other(root: str) -> Callable[[JSON], bool]:
    return lambda body: body["status"]["activeRoot"] != root


def half_done(body: JSON) -> bool:
    return rotation.progress(body).percent >= 50


def new_root(cluster: Cluster, authority: str, old: str, good: Callable[[JSON], bool]) -> JSON:
    """Wait until the root that is being made is as ``good`` says."""

    def met(items: list[JSON]) -> JSON | None:
        found = [item for item in items if item["spec"]["caConfigurationName"] == authority]
        return next((item for item in found if item["metadata"]["name"] != old and good(item)), None)

    return cluster.wait_for(met, path_of(names.CA_ROOT), SECONDS)


def is_marked_active(root: JSON) -> bool:
    return names.ANNOTATION_ACTIVATED_AT in root["metadata"].get("annotations", {})


def test_100_215_a_leader_killed_in_each_phase_leaves_a_rotation_that_the_next_one_completes(
    disturbed: Installation, room: str
) -> None:
    """Seven kills in one rotation, the last two amid the reissue and amid the prune."""
    cluster = disturbed.cluster
    body = scenario.configuration(room, rotation={"reissuePerSecond": 8, "minimumPublishTime": "4s"})
    name = body["metadata"]["name"]
    cluster.apply(body)
    old = cluster.wait(scenario.path(name))["status"]["activeRoot"]
    people = population.make(cluster, name, [room], automatic=40, managed=0, manual=0)
    before = population.wait_all(cluster, people.automatic, population.is_issued)
    mark = cluster.audit_mark()
    watched = {
        history.CONFIGURATION: [scenario.path(name)],
        history.LEAF: [path_of(names.LEAF, room)],
        history.BUNDLE: [
            path_of(names.CONFIG_MAP, room, body["spec"]["trustBundle"]["configMapName"]),
        ],
    }
    where = scenario.path(name)
    with Recorder(cluster, watched) as recording:
        # Its key takes long enough to make that the leader ends before there is one.
        rotation.begin(cluster, name, privateKey={"algorithm": "RSA", "size": 4096})
        scenario.wait_other(cluster, where, phase_is("Prepare"), SECONDS)
        fleet.kill_leader(disturbed)
        new_root(cluster, name, old, lambda _: True)
        fleet.kill_leader(disturbed)
        scenario.wait_other(cluster, where, phase_is("Publish"), SECONDS)
        fleet.kill_leader(disturbed)
        new_root(cluster, name, old, is_marked_active)
        fleet.kill_leader(disturbed)
        scenario.wait_other(cluster, where, is_other(old), SECONDS)
        fleet.kill_leader(disturbed)
        scenario.wait_other(cluster, where, half_done, SECONDS)
        fleet.kill_leader(disturbed)
        done = rotation.follow(cluster, name, old)
        at = path_of(names.CA_ROOT, name=old)
        notes = {names.ANNOTATION_PRUNE_NOW: cluster.request("GET", at)["status"]["fingerprint"]}
        cluster.request("PATCH", at, {"metadata": {"annotations": notes}})
        fleet.kill_leader(disturbed)
        scenario.wait_gone(cluster, path_of(names.CA_ROOT, name=old), SECONDS)
        states = recording.settle()
    disturbed.operator.wait_ready()

    new = done["status"]["activeRoot"]
    assert history.activations(states) == [old, new]
    assert scenario.made_since(cluster, mark, name) == {"root": 1, "signer": 1, "CARoot": 1}
    assert history.unmet_needs(states, replaced=False) == []
    assert history.refused_by_openssl(history.meetings(states, replaced=False)) == []
    told = [item["percent"] for item in history.rotations(states) if "percent" in item]
    assert told == sorted(told)
    authority = scenario.authority(cluster, name)
    assert list(authority.roots) == [new]
    assert len(authority.secrets) == 2, "a root key and a signer: the old ones went with their root"
    after = population.wait_all(cluster, people.automatic, population.is_issued)
    assert all(after[at]["status"]["serialNumber"] != before[at]["status"]["serialNumber"] for at in after)
    # A write whose answer died with the leader may be made once more, as may one that it had begun.
    writes = Counter(write for write in scenario.operator_writes(cluster, mark) if write[2] == room)
    leaves = [n for write, n in writes.items() if write[1] == "leafcertificaterequests/status"]
    assert len(leaves) == 40
    assert sum(leaves) <= 40 + 16
    cluster.request("DELETE", where)
