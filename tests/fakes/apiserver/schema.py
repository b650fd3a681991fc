"""What a structural schema does to a custom object: prune, default, refuse. CEL rules are not run."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

JSON = dict[str, Any]
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


def shape(value: Any, schema: JSON) -> Any:
    """Return a copy of ``value`` without unknown fields and with defaults."""
    if isinstance(value, dict):
        return _shape_object(value, schema)
    if isinstance(value, list):
        return [shape(item, schema.get("items", {})) for item in value]
    return value


def _shape_object(value: JSON, schema: JSON) -> JSON:
    properties: JSON = schema.get("properties", {})
    rest = schema.get("additionalProperties")
    keep = schema.get("x-kubernetes-preserve-unknown-fields", False)
    found: JSON = {}
    for key, item in value.items():
        if key in properties:
            # null means absent where a default exists or null is not allowed.
            if item is None and not properties[key].get("nullable"):
                continue
            found[key] = shape(item, properties[key])
        elif isinstance(rest, dict):
            found[key] = shape(item, rest)
        elif keep:
            found[key] = copy.deepcopy(item)
    for key, inner in properties.items():
        if key not in found and "default" in inner:
            found[key] = shape(copy.deepcopy(inner["default"]), inner)
    return found


def complaints(value: Any, schema: JSON, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (field, text) for everything that breaks the schema."""
    if value is None and schema.get("nullable"):
        return
    wanted = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        wanted = None
    if wanted and not _is_a(value, wanted):
        yield path, f"Invalid value: must be of type {wanted}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield path, f"Unsupported value: {value!r}"
    if isinstance(value, dict):
        yield from _of_object(value, schema, path)
    elif isinstance(value, list):
        yield from _of_list(value, schema, path)
    elif isinstance(value, str):
        yield from _of_string(value, schema, path)
    elif isinstance(value, (int, float)):
        yield from _of_number(value, schema, path)


def _is_a(value: Any, wanted: str) -> bool:
    if isinstance(value, bool) and wanted != "boolean":
        return False
    return isinstance(value, _TYPES[wanted])


def _of_object(value: JSON, schema: JSON, path: str) -> Iterator[tuple[str, str]]:
    for key in schema.get("required", ()):
        if key not in value:
            yield _join(path, key), "Required value"
    properties: JSON = schema.get("properties", {})
    rest = schema.get("additionalProperties")
    for key, item in value.items():
        if key in properties:
            yield from complaints(item, properties[key], _join(path, key))
        elif isinstance(rest, dict):
            yield from complaints(item, rest, _join(path, key))


def _of_list(value: list[Any], schema: JSON, path: str) -> Iterator[tuple[str, str]]:
    if len(value) > schema.get("maxItems", len(value)):
        yield path, f"Too many: {len(value)}: must have at most {schema['maxItems']} items"
    if len(value) < schema.get("minItems", 0):
        yield path, f"Invalid value: must have at least {schema['minItems']} items"
    for index, item in enumerate(value):
        yield from complaints(item, schema.get("items", {}), f"{path}[{index}]")


def _of_string(value: str, schema: JSON, path: str) -> Iterator[tuple[str, str]]:
    if len(value) > schema.get("maxLength", len(value)):
        yield path, f"Too long: may not be more than {schema['maxLength']} bytes"
    if len(value) < schema.get("minLength", 0):
        yield path, f"Invalid value: should be at least {schema['minLength']} chars long"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield path, f"Invalid value: should match '{schema['pattern']}'"


def _of_number(value: float, schema: JSON, path: str) -> Iterator[tuple[str, str]]:
    if value < schema.get("minimum", value):
        yield path, f"Invalid value: {value}: should be greater than or equal to {schema['minimum']}"
    if value > schema.get("maximum", value):
        yield path, f"Invalid value: {value}: should be less than or equal to {schema['maximum']}"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
