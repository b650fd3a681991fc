"""Who owns which field, and what server-side apply makes of it.

A field is the path of a leaf. Lists are atomic unless the kind says that they are maps by key or sets.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

JSON = dict[str, Any]
Part = str | tuple[tuple[str, Any], ...]
Path = tuple[Part, ...]
# "" for atomic, "set", or the keys of a list-map, by the names on the way.
ListType = Callable[[tuple[str, ...]], "str | tuple[str, ...]"]

Owner = tuple[str, str, str]  # manager, Apply or Update, subresource
Owners = dict[Owner, set[Path]]

_NOT_OWNED = {
    ("apiVersion",),
    ("kind",),
    *(
        ("metadata", name)
        for name in (
            "name",
            "namespace",
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "managedFields",
        )
    ),
}


def leaves(item: JSON, list_type: ListType) -> dict[Path, Any]:
    return {
        path: value
        for path, value in _walk(item, (), (), list_type)
        if path[:2] not in _NOT_OWNED and path[:1] not in _NOT_OWNED
    }


def _walk(
    value: Any,
    path: Path,
    names: tuple[str, ...],
    list_type: ListType,
) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _walk(item, (*path, key), (*names, key), list_type)
    elif isinstance(value, list) and (kind := list_type(names)):
        for item in value:
            yield from _walk(item, (*path, _element(item, kind)), names, list_type)
    else:
        yield path, value


def _element(item: Any, kind: str | tuple[str, ...]) -> Part:
    if kind == "set":
        return (("", item),)
    return tuple((key, item.get(key)) for key in kind)


def merge(
    live: Any,
    wanted: Any,
    names: tuple[str, ...],
    list_type: ListType,
) -> Any:
    """Lay ``wanted`` over ``live``, entry by entry where the type allows it."""
    if isinstance(live, dict) and isinstance(wanted, dict):
        found = dict(live)
        for key, item in wanted.items():
            found[key] = merge(live.get(key), item, (*names, key), list_type)
        return found
    if isinstance(live, list) and isinstance(wanted, list) and (kind := list_type(names)):
        by_key = {_element(item, kind): item for item in live}
        for item in wanted:
            key = _element(item, kind)
            by_key[key] = merge(by_key.get(key), item, names, list_type)
        return list(by_key.values())
    return copy.deepcopy(wanted)


def remove(item: Any, path: Path, names: tuple[str, ...], list_type: ListType) -> Any:
    """Return ``item`` without the leaf, and without what becomes empty by that."""
    head, rest = path[0], path[1:]
    if isinstance(head, str):
        if not isinstance(item, dict) or head not in item:
            return item
        inner = remove(item[head], rest, (*names, head), list_type) if rest else None
        if inner in (None, {}, []):
            return {key: value for key, value in item.items() if key != head}
        return item | {head: inner}
    if not isinstance(item, list):
        return item
    kept = []
    for entry in item:
        if _element(entry, list_type(names)) != head:
            kept.append(entry)
        elif rest and (left := _without_keys(remove(entry, rest, names, list_type), head, rest)):
            kept.append(left)
    return kept


def _without_keys(entry: Any, head: Part, rest: Path) -> Any:
    """Keep the keys of a list-map entry as long as anything else is in it."""
    if isinstance(head, tuple) and len(rest) == 1:
        restored = {key: value for key, value in head if key}
        others = {key for key in entry if key not in restored}
        return entry | restored if others else None
    return entry


def record_update(owners: Owners, owner: Owner, before: dict[Path, Any], after: dict[Path, Any]) -> Owners:
    """A changed field belongs to who changed it, a vanished one to nobody."""
    changed = {path for path, value in after.items() if path not in before or before[path] != value}
    gone = before.keys() - after.keys()
    found = {who: paths - gone - (changed if who != owner else set()) for who, paths in owners.items()}
    found[owner] = found.get(owner, set()) | changed
    return {who: paths for who, paths in found.items() if paths}


def dotted(path: Path) -> str:
    parts = []
    for part in path:
        if isinstance(part, str):
            parts.append(f".{part}")
        else:
            parts.append(
                "[" + ",".join(f"{key}={value!r}" if key else repr(value) for key, value in part) + "]"
            )
    return "".join(parts)
