"""What each validator says of each chain of a rotation is what the path rules and docs/interop.md say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.interop import page, run
from e2e.interop.__main__ import PAGE
from e2e.interop.situations import (
    LEAF_KEYS_REFUSED,
    LEAF_KINDS,
    SECTIONS,
    VALIDATORS,
    expected,
    settled,
)

if TYPE_CHECKING:
    from e2e.interop.run import Run


@pytest.fixture(params=VALIDATORS)
def validator(request: pytest.FixtureRequest, found: Run) -> str:
    name: str = request.param
    if name in run.left_out:
        pytest.skip(f"{name}: {run.left_out[name]}")
    assert name in found.results
    return name


def test_every_validator_follows_the_path_rules_as_far_as_it_is_known_to(found: Run, validator: str) -> None:
    answers = found.results[validator]
    differ = {
        f"{situation} | {pair}": answers[f"{situation} | {pair}"] or page.ACCEPTS
        for section, situations in SECTIONS.items()
        for situation in situations
        if settled(validator, situation)
        for pair in page.tried(section)
        if (answers[f"{situation} | {pair}"] == "") is not expected(validator, situation)
    }
    assert differ == {}


def test_every_validator_takes_the_leaf_keys_that_it_is_known_to_take(found: Run, validator: str) -> None:
    taken = {kind for kind in LEAF_KINDS if not found.results[validator][f"leaf key {kind}"]}
    assert taken == {kind for kind in LEAF_KINDS if validator not in LEAF_KEYS_REFUSED.get(kind, ())}


def test_the_page_says_what_a_run_gives(found: Run, validator: str) -> None:
    rows, _ = page.read(PAGE.read_text())
    now = page.table(found.results)
    assert {row: cells[validator] for row, cells in rows.items()} == {
        row: cells[validator] for row, cells in now.items()
    }


def test_the_page_says_how_large_a_served_chain_is() -> None:
    _, sizes = page.read(PAGE.read_text())
    assert page.same_sizes(sizes, run.sizes())
