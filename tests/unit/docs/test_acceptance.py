"""docs/acceptance.md is honest: every id once, every test named there exists, none with an id left out."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "acceptance.md"

SCENARIOS = (
    (1, 28), (30, 51), (60, 67), (70, 90), (95, 107), (110, 118), (120, 126), (130, 131),
    (140, 159), (165, 180), (190, 196), (200, 205), (210, 227),
)  # fmt: skip
REQUIREMENTS = {
    "ID": ((1, 19),),
    "X": ((1, 15), (20, 32)),
    "V": ((1, 7),),
    "B": ((1, 23),),
    "FS": ((1, 17),),
    "FC": ((1, 18),),
    "WE": ((1, 14),),
    "WA": ((1, 27),),
    "SD": ((1, 16),),
    "O": ((1, 5),),
}
LETTERED = {"SD-14": "abcd"}
REASON = 15
"""Characters below which a reason is none."""
_REFERENCE = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
_TOKENS = re.compile(r"^test_((?:(?:\d{3}|i\d+|(?:id|x|v|b|fs|fc|we|wa|sd|o)_\d\d|to)_)+)")


class Row(NamedTuple):
    """One line of the page."""

    name: str
    asked: str
    proof: str

    @property
    def tests(self) -> list[tuple[str, str]]:
        return _REFERENCE.findall(self.proof)

    @property
    def rest(self) -> str:
        return _REFERENCE.sub("", self.proof).strip(", ;")


def expected() -> list[str]:
    names = [f"{n:03}" for first, last in SCENARIOS for n in range(first, last + 1)]
    for prefix, ranges in REQUIREMENTS.items():
        for name in (f"{prefix}-{n:02}" for first, last in ranges for n in range(first, last + 1)):
            names += [name, *(name + letter for letter in LETTERED.get(name, ""))]
    return names


def rows() -> list[Row]:
    found = re.findall(r"^\| (\d{3}|[A-Z]+-\w+) \| (.+?) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    return [Row(*cells) for cells in found]


@functools.cache
def names_of(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    functions = (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def files() -> list[str]:
    folders = (ROOT / "tests", ROOT / "e2e")
    return [str(file.relative_to(ROOT)) for folder in folders for file in sorted(folder.rglob("test_*.py"))]


def ids_in(name: str) -> set[str]:
    """Return the ids that a test's name begins with: ``test_id_16_to_id_18_x_20_it_is`` has four."""
    matched = _TOKENS.match(name)
    tokens = re.findall(r"\d{3}|i\d+|[a-z]+_\d\d|to", matched[1]) if matched else []
    found: list[str] = []
    for position, token in enumerate(tokens):
        if token == "to":
            prefix, first = found[-1].split("-")
            last = int(tokens[position + 1].split("_")[1])
            found += [f"{prefix}-{n:02}" for n in range(int(first), last + 1)]
        elif not re.fullmatch(r"i\d+", token):
            found.append(token.replace("_", "-").upper())
    return set(found)


def test_ids_are_read_out_of_names() -> None:
    assert ids_in("test_146_one_per_second") == {"146"}
    assert ids_in("test_140_x_14_key_ids_chain_up") == {"140", "X-14"}
    assert ids_in("test_219_x_13_i4_a_leaf") == {"219", "X-13"}
    assert ids_in("test_x_06_to_x_09_key_usage") == {"X-06", "X-07", "X-08", "X-09"}
    assert ids_in("test_i6_passes") == ids_in("test_keys_of_256_bits") == set()


def test_every_id_stands_once_and_in_order() -> None:
    assert [row.name for row in rows()] == expected()


def test_every_row_has_a_test_or_says_why_not() -> None:
    for row in rows():
        if row.rest:
            kind, _, why = row.rest.partition(": ")
            assert kind in {"not applicable", "later"}, row
            assert len(why) >= REASON or kind == "later", row
            assert why, row
        else:
            assert row.tests, row


def test_what_is_not_applicable_has_no_test() -> None:
    assert not [row for row in rows() if row.rest.startswith("not applicable") and row.tests]


def test_every_test_that_is_named_exists() -> None:
    for row in rows():
        for file, name in row.tests:
            assert (ROOT / file).is_file(), f"{row.name}: {file}"
            assert name in names_of(file), f"{row.name}: {file}::{name}"


def test_every_test_that_begins_with_an_id_is_in_the_row_of_that_id() -> None:
    named = {row.name: set(row.tests) for row in rows()}
    missing = [
        f"{one}: `{file}::{name}`"
        for file in files()
        for name in sorted(names_of(file))
        for one in sorted(ids_in(name))
        if (file, name) not in named.get(one, set())
    ]
    assert not missing, "add to docs/acceptance.md:\n" + "\n".join(missing)
