"""A step that is carried out and changes nothing is given up for a while."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from meshca.engine.repeats import MOST, WITHIN, Repeats
from meshca.planning import steps
from tests.fakes.caworld import bootstrapped

if TYPE_CHECKING:
    from meshca.planning.steps import Step

[ROOT] = bootstrapped().roots
LATER = replace(ROOT, meta=replace(ROOT.meta, resource_version="999"))
WRITE = steps.WriteRootStatus(ROOT, {"state": "Active"})


def carried_out(step: Step, times: int, every: float = 1.0) -> Repeats:
    repeats = Repeats()
    for number in range(times):
        repeats.note("default", step, number * every)
    return repeats


@pytest.mark.parametrize("step", [WRITE, steps.AcceptSpec(), steps.CommitActive(ROOT, older=(ROOT,))])
def test_step_without_effect_is_refused_after_a_few_times_and_allowed_a_minute_later(step: Step) -> None:
    assert not carried_out(step, MOST - 1).problem("default", step, MOST)
    repeats = carried_out(step, MOST)
    assert type(step).__name__ in repeats.problem("default", step, MOST)
    assert not repeats.problem("other", step, MOST)
    assert not repeats.problem("default", step, MOST + WITHIN)


def test_versions_of_objects_do_not_make_a_step_another_one() -> None:
    assert carried_out(WRITE, MOST).problem(
        "default", steps.WriteRootStatus(LATER, {"state": "Active"}), MOST
    )


def test_steps_that_differ_in_what_they_write_are_progress() -> None:
    repeats = carried_out(WRITE, MOST)
    assert not repeats.problem("default", steps.WriteRootStatus(ROOT, {"state": "Retiring"}), MOST)


@pytest.mark.parametrize("step", [steps.ReadBack(), steps.GatherEvidence(ROOT)])
def test_reads_are_not_counted(step: Step) -> None:
    assert not carried_out(step, 3 * MOST).problem("default", step, 3 * MOST)
