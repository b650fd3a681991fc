"""Histories in which everything goes wrong, of one cluster and of a mesh: all end well, nothing breaks."""

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
SHORT_MESH = Scope(events=15, prune=False)


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


@pytest.mark.parametrize("seed", seeds.fixed_meshes())
def test_i10_known_mesh_ends_well(seed: int) -> None:
    """In a process of its own, as ``make replay`` does it; fresh ones are for ``make soak``."""
    done = alone(["-m", "tests.simulation", f"mesh-{seed}"], "0")
    assert done.returncode == 0, f"replay: make replay SEEDS=mesh-{seed}\n{done.stdout}{done.stderr}"


def test_a_seed_is_one_history() -> None:
    first, other, again = (history.run(seed, SHORT) for seed in (7, 8, 7))
    assert first.trace == again.trace
    assert first.story == again.story
    assert first.steps == again.steps
    assert first.trace != other.trace


@pytest.mark.parametrize(("scope", "mesh"), [(SHORT, False), (SHORT_MESH, True)], ids=["cluster", "mesh"])
def test_a_history_does_not_depend_on_the_order_of_sets(scope: Scope, *, mesh: bool) -> None:
    assert len({in_a_process_of_its_own(hash_seed, scope, mesh=mesh) for hash_seed in ("0", "1")}) == 1


def in_a_process_of_its_own(hash_seed: str, scope: Scope, *, mesh: bool) -> str:
    """Return the trace of a history as ``make replay`` would see it, under an order of sets."""
    code = (
        "from tests.simulation import history; from tests.simulation.world import Scope\n"
        f"print(history.run(7, Scope(events={scope.events}, prune=False), mesh={mesh}).trace)"
    )
    done = alone(["-c", code], hash_seed)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def alone(arguments: list[str], hash_seed: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process that has lived through nothing yet."""
    environment = {
        **os.environ,
        "PYTHONHASHSEED": hash_seed,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'operator'}",
    }
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
