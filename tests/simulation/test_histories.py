"""Histories in which everything goes wrong, of one cluster and of a mesh: all end well, nothing breaks."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulation import history, seeds
from tests.simulation.world import Scope

ROOT = Path(__file__).parents[2]
SHORT = Scope(events=25, prune=False)
SHORT_MESH = Scope(events=15, prune=False)
KEY_KINDS = ("ECDSA 256", "RSA 2048", "Ed25519")
KEYS = Scope(events=16, prune=False, only=("key", "csr", "managed", "stop"))
LEAFY = Scope(events=40, prune=False, only=("csr", "managed", "manual", "trigger", "crash", "wipe"))
"""Many leaves that have to be looked at together, by operators who have just begun."""


def check(seed: int) -> None:
    report = history.run(seed)
    assert not report.found, f"replay: make replay SEEDS={seed}\n{told(report)}"


def told(report: history.Report) -> str:
    return "\n".join((*report.found, "", *report.story))


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


@pytest.mark.parametrize(("first", "then"), list(itertools.permutations(KEY_KINDS, 2)))
def test_i8_rotation_from_each_kind_of_key_to_each_other_ends_well(first: str, then: str) -> None:
    report = history.run(2, replace(KEYS, key_kinds=(first, then)))
    assert not report.found, told(report)
    assert f"key {then}" in told(report)


def test_a_seed_is_one_history() -> None:
    first, other, again = (history.run(seed, SHORT) for seed in (7, 8, 7))
    assert first.trace == again.trace
    assert first.story == again.story
    assert first.steps == again.steps
    assert first.trace != other.trace


@pytest.mark.parametrize(
    ("scope", "mesh", "before"),
    [(LEAFY, False, (3, 4)), (SHORT_MESH, True, ())],
    ids=["cluster", "mesh"],
)
def test_a_history_depends_on_nothing_but_its_seed(
    scope: Scope, before: tuple[int, ...], *, mesh: bool
) -> None:
    """Neither on the order of sets nor on what its process has lived through."""
    alone_first = in_a_process_of_its_own("0", scope, (2,), mesh=mesh)
    after_others = in_a_process_of_its_own("3", scope, (*before, 2), mesh=mesh)
    assert alone_first == after_others


def in_a_process_of_its_own(hash_seed: str, scope: Scope, numbers: tuple[int, ...], *, mesh: bool) -> str:
    """Return the trace of the last of some histories of one process, under an order of sets."""
    code = (
        "from tests.simulation import history; from tests.simulation.world import Scope\n"
        f"scope = Scope(events={scope.events}, prune=False, only={scope.only})\n"
        f"print([history.run(seed, scope, mesh={mesh}).trace for seed in {numbers}][-1])"
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
