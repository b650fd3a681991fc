"""Five simulated years of wishes, renewals and ends, with every invariant checked after every step."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshca.planning.assess import assess
from tests.fakes.pki import NOW
from tests.fakes.years import DAY, HOUR, SPEC, Habits, Years

YEARS = 5 * 365 * DAY
SECONDS = 24 * 3600.0
EVERYTHING = ("trigger", "back", "key", "leaf", "import", "generate", "wipe", "trigger")
BUSY = Habits(
    waits=(1, 30, 3600, 5 * SECONDS, 20 * SECONDS, 60 * SECONDS),
    lag=timedelta(minutes=9),
    wishes=(*EVERYTHING, "delete"),
)
SLOW_PEERS = Habits(waits=(600, 5 * SECONDS, 60 * SECONDS), lag=20 * HOUR, wishes=EVERYTHING)
NOBODY = Habits(waits=(400 * SECONDS,), lag=timedelta(minutes=9), wishes=("nothing",))


def lived(seed: int, habits: Habits) -> Years:
    years = Years(seed, habits)
    years.run(NOW + YEARS)
    return years


def check_end(years: Years) -> None:
    """Without further wishes it ends on the last one, with one root, one signer and no more to do."""
    years.rest(40 * DAY)
    world = years.world
    found = assess(world.snapshot())
    assert found.target is None
    assert found.hold is None
    assert found.root is not None
    assert found.root.base == found.wish.base
    assert len(world.roots) == len(world.root_secrets) == len(world.signer_secrets) == 1
    assert years.longest_chain <= 3
    assert len(years.per_day) < YEARS / DAY


@pytest.mark.parametrize("seed", range(3))
def test_081_227_invariants_hold_for_five_years_of_wishes(seed: int) -> None:
    years = lived(seed, BUSY)
    check_end(years)
    assert years.steps["CommitActive"] > 25
    assert years.steps["MarkPruned"] > 25
    assert years.steps["MakeSigner"] > 40
    assert years.seen["issued"] > 500
    assert {"Completed", "Publish", "Reissue"} <= set(years.seen)


@pytest.mark.parametrize("seed", [4])
def test_081_i2_holds_for_peers_that_take_a_bundle_late(seed: int) -> None:
    years = lived(seed, SLOW_PEERS)
    check_end(years)
    assert years.steps["CommitActive"] > 15


def test_218_invariants_hold_for_five_years_in_which_nobody_does_anything() -> None:
    years = lived(7, NOBODY)
    world = years.world
    ttl, renewed = 8760 * HOUR, 8760 * HOUR * 4 / 5
    assert world.active.renewal == int(YEARS / renewed)
    assert years.steps["MakeRoot"] == years.steps["CommitActive"] == world.active.renewal + 1
    assert world.active.facts.not_after - world.now > ttl / 5
    assert sum(years.per_day.values()) < 600
    assert SPEC["root"]["ttl"] == "8760h"
