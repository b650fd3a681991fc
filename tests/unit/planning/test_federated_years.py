"""A simulated year of a mesh of three clusters, with every invariant checked after every step."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.fakes.federatedyears import FederatedYears, Manners
from tests.fakes.pki import NOW
from tests.fakes.years import DAY, Habits

YEAR = 365 * DAY
SECONDS = 24 * 3600.0
HABITS = Habits(
    waits=(3600, 5 * SECONDS, 20 * SECONDS, 60 * SECONDS),
    lag=timedelta(minutes=9),
    wishes=("trigger", "back", "key", "leaf", "wipe", "delete"),
    leaves=2,
)
FOLLOW = Manners()
LET_GO = Manners(falls_silent=0.01, is_let_go=0.02)
LONG = Manners(falls_silent=0.05, silence=(300.0, 2000.0))


@pytest.mark.parametrize(
    ("seed", "manners"),
    [(1, FOLLOW), (3, LET_GO), (6, LONG)],
    ids=["follow", "let-go", "long"],
)
def test_120_131_invariants_hold_in_every_cluster_for_a_year_of_wishes(seed: int, manners: Manners) -> None:
    years = FederatedYears(seed, HABITS, manners)
    years.run(NOW + YEAR)
    assert years.steps["CommitActive"] > 5
    assert years.steps["MarkPruned"] > 3
    assert years.seen["granted"] > 8
    assert years.seen["answer lost"] > 0
    years.manners = FOLLOW
    years.rest(60 * DAY)
    world = years.world
    assert len(world.roots) == 1, "nothing is held for ever"
    for site in years.sites:
        assert not site.registered or site.root == world.active.facts.fingerprint
    assert world.condition("Degraded")[0] == "False"
