"""The page about interoperation says what was found, and is read back as it was written."""

from __future__ import annotations

import pytest

from e2e.interop import page
from e2e.interop.situations import ENVOY, GNUTLS, LEAF_KINDS, NEW, OLD, OLDER, SECTIONS, VALIDATORS, Situation

QUADRANT = Situation(NEW, (OLD,), (OLD,))
UNSETTLED = Situation(NEW, (OLD, OLDER), (OLDER,))
PAIRS = ["a → b", "b → a", "b → b"]
SIZES: page.Sizes = {"ECDSA 256": (1000, 1500, 2000), "RSA 2048": (2000, 3000, 4000)}


def answers(situation: Situation, *refused: str) -> dict[str, str]:
    return {f"{situation} | {pair}": "unknown CA" if pair in refused else "" for pair in PAIRS}


@pytest.mark.parametrize(
    ("validator", "situation", "refused", "said"),
    [
        (ENVOY, QUADRANT, [], "accepts"),
        (ENVOY, QUADRANT, PAIRS, "refuses"),
        (ENVOY, QUADRANT, ["b → a"], "accepts, but not b → a"),
        (GNUTLS, UNSETTLED, PAIRS, "mostly refuses"),
        (GNUTLS, UNSETTLED, ["a → b", "b → a"], "mostly refuses"),
        (GNUTLS, UNSETTLED, ["a → b"], "mostly accepts"),
        (GNUTLS, QUADRANT, ["a → b", "b → a"], "accepts, but not a → b, b → a"),
    ],
)
def test_a_cell_names_the_pairs_that_differ(
    validator: str, situation: Situation, refused: list[str], said: str
) -> None:
    assert page.verdict(answers(situation, *refused), validator, situation, PAIRS) == said


def everything(refused: str = "") -> dict[str, str]:
    names = [
        f"{situation} | {pair}"
        for section, situations in SECTIONS.items()
        for situation in situations
        for pair in page.tried(section)
    ]
    names += [f"leaf key {kind}" for kind in LEAF_KINDS]
    return {name: "no" if name.startswith(refused) and refused else "" for name in names}


def test_a_page_is_read_as_it_was_written() -> None:
    results = {name: everything("old leaf | new" if name == ENVOY else "") for name in VALIDATORS}
    rows = page.table(results)
    text = page.render(rows, dict.fromkeys(VALIDATORS, "1.2"), SIZES)
    assert page.read(text) == (rows, SIZES)
    assert rows["old leaf | new"][ENVOY] == "refuses"
    assert rows["old leaf | new"][GNUTLS] == "accepts"
    assert "Envoy 1.2" in text


def test_a_table_speaks_of_those_only_who_were_asked() -> None:
    assert {frozenset(row) for row in page.table({ENVOY: everything()}).values()} == {frozenset({ENVOY})}


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (SIZES, True),
        (SIZES | {"ECDSA 256": (1000, 1500, 2060)}, True),
        (SIZES | {"ECDSA 256": (1000, 1500, 2061)}, False),
        ({"ECDSA 256": (1000, 1500, 2000)}, False),
    ],
)
def test_sizes_may_vary_a_little(other: page.Sizes, same: bool) -> None:
    assert page.same_sizes(SIZES, other) is same
