"""The token bucket of a lane, moment by moment."""

from __future__ import annotations

import math

import pytest

from meshca.engine.limits import SLACK, Gate, Limits, Pace


def test_the_first_token_is_there_and_the_next_one_an_interval_later() -> None:
    pace = Pace(4)
    assert pace.ready_at == -math.inf
    pace.take(100)
    assert pace.ready_at == 100.25


def test_a_token_taken_a_moment_late_does_not_delay_the_ones_after_it() -> None:
    pace = Pace(4)
    pace.take(100)
    pace.take(100.25 + SLACK / 2)
    assert pace.ready_at == 100.5


@pytest.mark.parametrize(("rate", "late"), [(4, 0.2), (4, 1000.0), (1000, 0.005)])
def test_time_without_work_saves_up_nothing(rate: float, late: float) -> None:
    pace = Pace(rate)
    pace.take(100)
    used = pace.ready_at + late
    pace.take(used)
    assert pace.ready_at == used + 1 / rate


def test_a_token_given_back_is_there_again_unless_another_was_taken_since() -> None:
    pace = Pace(1)
    pace.take(100)
    pace.give_back(pace.take(101))
    assert pace.ready_at == 101
    second, third = pace.take(102), pace.take(103)
    pace.give_back(second)
    assert pace.ready_at == 104
    pace.give_back(third)
    assert pace.ready_at == 103


def test_without_a_rate_there_is_always_a_token_and_a_rate_counts_from_the_last_take() -> None:
    pace = Pace(0)
    pace.take(100)
    assert pace.ready_at == -math.inf
    pace.rate = 0.1
    assert pace.ready_at == 110


def test_a_cap_opens_only_when_one_ends_and_a_rate_replaces_it() -> None:
    gate = Gate()
    gate.change(Limits(concurrent=1))
    stamps = gate.enter(100, reissue=False)
    assert gate.opens_at(reissue=False) == math.inf
    gate.change(Limits(per_second=2, concurrent=1))
    assert gate.opens_at(reissue=False) == 100.5
    gate.change(Limits(concurrent=1))
    gate.leave(stamps, spent=True)
    assert gate.opens_at(reissue=False) <= 100


def test_what_was_spent_stays_spent() -> None:
    gate = Gate()
    gate.change(Limits(per_second=1, reissue_per_second=0.5))
    gate.leave(gate.enter(100, reissue=True), spent=True)
    assert gate.opens_at(reissue=False) == 101
    assert gate.opens_at(reissue=True) == 102
    gate.leave(gate.enter(102, reissue=True), spent=False)
    assert gate.opens_at(reissue=False) == 101
    assert gate.opens_at(reissue=True) == 102
