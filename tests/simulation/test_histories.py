"""Histories of a cluster in which everything goes wrong: no invariant breaks, and it ends well (I1 to I9)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation import history, seeds
from tests.simulation.world import Scope

ROOT = Path(__file__).parents[2]
SHORT = Scope(events=25, prune=False)


def check(seed: int) -> None:
    report = history.run(seed)
    told = "\n".join((*report.found, "", *report.story))
    assert not report.found, f"replay: make replay SEEDS={seed}\n{told}"


@pytest.mark.parametrize("seed", seeds.fixed())
def test_i8_known_history_ends_well(seed: int) -> None:
    check(seed)


@pytest.mark.parametrize("seed", seeds.fresh())
def test_i8_fresh_history_ends_well(seed: int) -> None:
    check(seed)


def test_a_seed_is_one_history() -> None:
    first, other, again = (history.run(seed, SHORT) for seed in (7, 8, 7))
    assert first.trace == again.trace
    assert first.story == again.story
    assert first.steps == again.steps
    assert first.trace != other.trace


def test_a_history_does_not_depend_on_the_order_of_sets() -> None:
    assert len({in_a_process_of_its_own(hash_seed) for hash_seed in ("0", "1")}) == 1


def in_a_process_of_its_own(hash_seed: str) -> str:
    """Return the trace of a history as ``make replay`` would see it, under an order of sets."""
    code = (
        "from tests.simulation import history; from tests.simulation.world import Scope\n"
        f"print(history.run(7, Scope(events={SHORT.events}, prune=False)).trace)"
    )
    environment = {
        **os.environ,
        "PYTHONHASHSEED": hash_seed,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'operator'}",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
