"""A clock that is off: nothing is done that cannot be undone, until it agrees again."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from e2e import faketime, scenario
from e2e.mesh import rotation
from e2e.runtime import fleet

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]


@pytest.mark.parametrize("minutes", [5, -5])
def test_a_rotation_waits_while_the_clocks_differ_and_goes_on_once_they_agree(
    disturbed: Installation, room: str, clock: Path, minutes: int
) -> None:
    cluster = disturbed.cluster
    body = scenario.configuration(room)
    name = body["metadata"]["name"]
    cluster.apply(body)
    old = cluster.wait(scenario.path(name))["status"]["activeRoot"]
    scenario.issue(cluster, room, "web", name, renewal="Automatic")
    before = scenario.authority(cluster, name)
    faketime.set_offset(clock, timedelta(minutes=minutes))
    # The difference is looked at every five seconds, on the occasion of a call.
    fleet.pass_time(cluster, renewals=4)
    rotation.begin(cluster, name)
    scenario.wait_ca(cluster, name, "ClockSkew", kind="Degraded", status="True")
    fleet.pass_time(cluster)
    assert scenario.authority(cluster, name) == before, "no root is made, published or put into use"
    assert rotation.active(cluster, name) == old
    if minutes > 0:
        # With a clock that is slow the policy of a cluster so young has not taken effect yet.
        scenario.issue(cluster, room, "meanwhile", name, renewal="Automatic")

    faketime.set_offset(clock, timedelta(0))
    new = rotation.wait_active(cluster, name, old)
    rotation.follow(cluster, name, old)
    scenario.wait_ca(cluster, name, "AsExpected", kind="Degraded")
    assert set(scenario.authority(cluster, name).roots) == {old, new}
    cluster.request("DELETE", scenario.path(name))
