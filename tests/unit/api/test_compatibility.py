"""What the last release stored is understood by this one: v1alpha1 only gains optional fields.

Compares the schemas of both; what a CEL rule refuses is not compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from e2e import released
from e2e.errors import CannotRunError

if TYPE_CHECKING:
    from collections.abc import Iterator

JSON = dict[str, Any]
CRDS = Path(__file__).parents[3] / "crds"
UPPER = ("maxLength", "maxItems", "maxProperties", "maximum")
LOWER = ("minLength", "minItems", "minProperties", "minimum")


def schema(file: Path) -> JSON:
    (version,) = yaml.safe_load(file.read_text())["spec"]["versions"]
    found: JSON = version["schema"]["openAPIV3Schema"]
    return found


def breaks(old: JSON, new: JSON, at: str) -> Iterator[str]:
    """Say what an object that the old schema takes may lose, or be refused for, under the new one."""
    if old.get("type") != new.get("type") or old.get("format") != new.get("format"):
        yield f"{at}: another type"
    if set(new.get("required", ())) - set(old.get("required", ())):
        yield f"{at}: more is required"
    if "enum" in new and not set(old.get("enum", ("anything else",))) <= set(new["enum"]):
        yield f"{at}: fewer values"
    yield from (f"{at}: lower {b}" for b in UPPER if b in new and new[b] < old.get(b, float("inf")))
    yield from (f"{at}: higher {b}" for b in LOWER if b in new and new[b] > old.get(b, float("-inf")))
    if old.get("default") != new.get("default"):
        yield f"{at}: another default"
    for name, before in old.get("properties", {}).items():
        after = new.get("properties", {}).get(name)
        if after is None:
            yield f"{at}.{name}: gone"
        else:
            yield from breaks(before, after, f"{at}.{name}")
    if isinstance(old.get("items"), dict):
        yield from breaks(old["items"], new.get("items", {}), f"{at}[]")


@pytest.mark.parametrize("file", sorted(CRDS.glob("*.yaml")), ids=lambda file: file.stem)
def test_nothing_that_the_last_release_stored_is_lost(file: Path) -> None:
    try:
        before = released.tree() / "crds" / file.name
    except CannotRunError as error:
        pytest.skip(str(error))
    assert list(breaks(schema(before), schema(file), file.stem)) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({"type": "string"}, {"type": "integer"}, ["x: another type"]),
        ({"required": ["a"]}, {"required": ["a", "b"]}, ["x: more is required"]),
        ({"enum": ["a", "b"]}, {"enum": ["a"]}, ["x: fewer values"]),
        ({}, {"enum": ["a"]}, ["x: fewer values"]),
        ({}, {"maxLength": 3}, ["x: lower maxLength"]),
        ({"minimum": 1}, {"minimum": 2}, ["x: higher minimum"]),
        ({"default": 1}, {}, ["x: another default"]),
        ({"properties": {"a": {}}}, {}, ["x.a: gone"]),
        ({"items": {"type": "string"}}, {"items": {"type": "object"}}, ["x[]: another type"]),
        ({"enum": ["a"], "maxItems": 1}, {"enum": ["a", "b"], "maxItems": 2, "properties": {"n": {}}}, []),
    ],
)
def test_the_comparison_sees_what_breaks(old: JSON, new: JSON, told: list[str]) -> None:
    assert list(breaks(old, new, "x")) == told
