"""The simulation is no test that cannot fail: each way in which the product was broken is noticed."""

from __future__ import annotations

import pytest

from tests.simulation import history
from tests.simulation.breakage import BREAKAGES, Breakage

INVARIANTS = {f"I{number}" for number in range(1, 11)}


def test_every_invariant_is_broken_on_purpose() -> None:
    assert {item.invariant for item in BREAKAGES} == INVARIANTS
    assert len(BREAKAGES) >= 10


@pytest.mark.parametrize("broken", BREAKAGES, ids=lambda broken: broken.name)
def test_broken_code_is_noticed(broken: Breakage) -> None:
    found: list[str] = []
    for seed in broken.seeds:
        with broken.applied():
            report = history.run(seed, broken.scope, mesh=broken.mesh)
        found += report.found
        if any(text.startswith(f"{broken.invariant}:") for text in report.found):
            return
    pytest.fail(f"seeds {broken.seeds} show no violation of {broken.invariant}, but {found}")
