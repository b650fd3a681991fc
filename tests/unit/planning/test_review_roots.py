"""What a CA may do only after it is on record, and what the record does not prove."""

from __future__ import annotations

from datetime import timedelta

from meshca.planning import ca
from meshca.planning.authority import Authority
from tests.fakes.caworld import bootstrapped

HOUR = timedelta(hours=1)


def test_leaves_live_no_longer_than_the_caroot_has_on_record() -> None:
    world = bootstrapped()
    world.spec = world.spec | {"leaf": {"ttl": "240h", "maxTTL": "480h"}}
    world.step()
    plan = world.plan()
    assert isinstance(plan.step, ca.RaiseLeafTTL)
    assert isinstance(plan.authority, Authority)
    assert (plan.authority.leaf_ttl, plan.authority.leaf_max_ttl) == (72 * HOUR, 72 * HOUR)
    authority = world.settle().authority
    assert isinstance(authority, Authority)
    assert (authority.leaf_ttl, authority.leaf_max_ttl) == (240 * HOUR, 480 * HOUR)
    assert world.roots[0].largest_leaf_ttl == 480 * HOUR
