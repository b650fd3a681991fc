"""Label and field selectors as the API server reads them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tests.fakes.apiserver.status import bad_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

JSON = dict[str, Any]

_SET = re.compile(r"^\s*(\S+)\s+(in|notin)\s*\(([^)]*)\)\s*$")
_OUTSIDE_PARENTHESES = re.compile(r",(?![^(]*\))")


def label_predicate(text: str) -> Callable[[JSON], bool]:
    terms = [_label_term(part) for part in _OUTSIDE_PARENTHESES.split(text) if part.strip()]

    def matches(item: JSON) -> bool:
        labels = item["metadata"].get("labels") or {}
        return all(term(labels) for term in terms)

    return matches


def _label_term(text: str) -> Callable[[dict[str, str]], bool]:
    if found := _SET.match(text):
        key, operator, values = found.groups()
        wanted = {value.strip() for value in values.split(",")}
        if operator == "in":
            return lambda labels: labels.get(key) in wanted
        return lambda labels: labels.get(key) not in wanted
    if "!=" in text:
        key, value = (part.strip() for part in text.split("!=", 1))
        return lambda labels: labels.get(key) != value
    if "=" in text:
        key, value = (part.strip() for part in text.replace("==", "=").split("=", 1))
        return lambda labels: labels.get(key) == value
    name = text.strip()
    if name.startswith("!"):
        return lambda labels: name[1:] not in labels
    if " " in name:
        raise bad_request(f"unable to parse requirement: {name!r}")
    return lambda labels: name in labels


def field_predicate(text: str, selectable: Iterable[str]) -> Callable[[JSON], bool]:
    allowed = {"metadata.name", "metadata.namespace", *selectable}
    terms = []
    for part in filter(None, text.split(",")):
        equal = "!=" not in part
        path, _, value = part.replace("!=", "=").replace("==", "=").partition("=")
        if path not in allowed:
            raise bad_request(f'field label not supported: "{path}"')
        terms.append((path.split("."), value, equal))

    def matches(item: JSON) -> bool:
        return all((_at(item, path) == value) is equal for path, value, equal in terms)

    return matches


def _at(item: JSON, path: list[str]) -> str:
    found: Any = item
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    if isinstance(found, bool):
        return str(found).lower()
    return "" if found is None else str(found)
