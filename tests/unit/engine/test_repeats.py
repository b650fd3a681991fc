"""A step that is carried out and changes nothing is given up for a while."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from meshca.engine.recently import MOST, WITHIN, Recently
from meshca.engine.repeats import Repeats
from meshca.planning import steps
from tests.fakes.caworld import bootstrapped
from tests.fakes.planning import meta

if TYPE_CHECKING:
    from meshca.planning.steps import Step

[ROOT] = bootstrapped().roots
LATER = replace(ROOT, meta=replace(ROOT.meta, resource_version="999"))
MINE, OTHER = meta("default", ""), meta("other", "")
WRITE = steps.WriteRootStatus(ROOT, {"state": "Active"})


def carried_out(step: Step, times: int, every: float = 1.0) -> Repeats:
    repeats = Repeats()
    for number in range(times):
        repeats.note(MINE, step, number * every)
    return repeats


@pytest.mark.parametrize("step", [WRITE, steps.AcceptSpec(), steps.CommitActive(ROOT, older=(ROOT,))])
def test_step_without_effect_is_refused_after_a_few_times_and_allowed_a_minute_later(step: Step) -> None:
    assert not carried_out(step, MOST - 1).problem(MINE, step, MOST)
    repeats = carried_out(step, MOST)
    assert type(step).__name__ in repeats.problem(MINE, step, MOST)
    assert not repeats.problem(OTHER, step, MOST)
    assert not repeats.problem(MINE, step, MOST + WITHIN)


def test_versions_of_objects_do_not_make_a_step_another_one() -> None:
    assert carried_out(WRITE, MOST).problem(MINE, steps.WriteRootStatus(LATER, {"state": "Active"}), MOST)


def test_steps_that_differ_in_what_they_write_are_progress() -> None:
    repeats = carried_out(WRITE, MOST)
    assert not repeats.problem(MINE, steps.WriteRootStatus(ROOT, {"state": "Retiring"}), MOST)


@pytest.mark.parametrize("step", [steps.ReadBack(), steps.GatherEvidence(ROOT)])
def test_reads_are_not_counted(step: Step) -> None:
    assert not carried_out(step, 3 * MOST).problem(MINE, step, 3 * MOST)


def test_after_an_edit_of_the_spec_the_same_step_is_another_one() -> None:
    edited = replace(MINE, generation=MINE.generation + 1)
    assert not carried_out(steps.AcceptSpec(), 3 * MOST).problem(edited, steps.AcceptSpec(), 3 * MOST)


def test_only_the_last_minute_is_remembered() -> None:
    done: Recently[int] = Recently()
    for number in range(1000):
        done.note(number, float(number))
    assert len(done) == WITHIN
    assert not done.too_often(999, 999.0)
