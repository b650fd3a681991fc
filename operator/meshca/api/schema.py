"""Models to structural OpenAPI v3 schemas, as CustomResourceDefinitions demand them.

Decides how a pydantic field is said in a CRD: types, defaults, lengths, and the sentences people read
when a value breaks its rule. Which rules hold between fields is in ``rules``. Hand-written because
pydantic writes JSON Schema with references and ``anyOf``, which structural schemas forbid.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from meshca.api.v1alpha1 import conditions
from meshca.api.v1alpha1.base import Model, StatusModel
from meshca.api.v1alpha1.scalars import PATTERNS, format_duration

if TYPE_CHECKING:
    from meshca.api.v1alpha1.metadata import Object

JSON = dict[str, Any]
RULES: Final = "x-kubernetes-validations"
STATUS_STRING_LENGTH: Final = 1024
# A too long string is refused by a rule that says how long it is; maxLength only bounds the rule's cost.
LENGTH_SLACK: Final = 4
# Longer strings are PEM, which no message repeats: a rule's error would.
LONGEST_SPOKEN: Final = 1024
_KEPT: Final = (
    "type",
    "format",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "maxItems",
    "maxProperties",
    "description",
)
_INTEGER_FORMAT: Final = "int64"


def quoted(text: str) -> str:
    """Write a CEL string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def raw(pattern: str) -> str:
    """Write a CEL raw string literal of a regular expression."""
    return f"r'{pattern}'"


def spec_and_status(kind: type[Object]) -> tuple[JSON, JSON]:
    """Return the structural schemas of ``spec`` and ``status`` of a kind, without rules between fields."""
    return _block(_model(kind, "spec")), _block(_model(kind, "status"))


def _model(owner: type[Model], name: str) -> type[Model]:
    found = _model_in(owner.model_fields[name].annotation)
    assert found is not None
    return found


def _model_in(annotation: Any) -> type[Model] | None:
    """Return the model in ``M``, ``M | None`` or ``tuple[M, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    candidates = (_model_in(part) for part in getattr(annotation, "__args__", ()))
    return next((found for found in candidates if found is not None), None)


def _block(model: type[Model]) -> JSON:
    written = model.model_json_schema(by_alias=True)
    definitions = written.get("$defs", {})
    is_status = issubclass(model, StatusModel)
    properties = {}
    for name, field in model.model_fields.items():
        alias = field.alias or name
        found = _plain(written["properties"][alias], definitions)
        if isinstance(field.default, timedelta):
            found["default"] = format_duration(field.default)
        nested = _model_in(field.annotation)
        if nested is not None and found["type"] == "object":
            description = found.get("description")
            found = _block(nested)
            if not is_status and field.default_factory and (whole := _defaults(found)):
                found["default"] = whole
            found |= {"description": description} if description else {}
        elif nested is not None:
            found["items"] = _block(nested)
        if is_status or not model.defaults_in_schema:
            found.pop("default", None)
        if is_status:
            _bound(found)
        properties[alias] = found
    schema: JSON = {"type": "object", "properties": properties}
    if required := _required(model, written):
        schema["required"] = required
    _list_map(schema)
    return schema


def _required(model: type[Model], written: JSON) -> list[str]:
    if model is conditions.Condition:
        return ["lastTransitionTime", "message", "reason", "status", "type"]
    return sorted(written.get("required", ()))


def _list_map(schema: JSON) -> None:
    if "conditions" in schema["properties"]:
        schema["properties"]["conditions"] |= {
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        }


def _defaults(schema: JSON) -> JSON:
    """Collect the defaults of a block: the API server checks the block's own default as it stands."""
    children = schema["properties"].items()
    return {name: child["default"] for name, child in children if "default" in child}


def _bound(schema: JSON) -> None:
    """Give every string of a status a length, generous enough never to stop a write of ours."""
    if schema.get("type") == "string" and not {"enum", "format"} & schema.keys():
        schema.setdefault("maxLength", STATUS_STRING_LENGTH)
    schema.pop(RULES, None)
    schema.pop("minLength", None)
    if "items" in schema:
        _bound(schema["items"])


def _plain(written: JSON, definitions: JSON) -> JSON:
    """Resolve references and optional types, and drop what structural schemas do not know."""
    source = dict(written)
    for option in source.pop("anyOf", ()):
        if option.get("type") != "null":
            source = option | source
    if reference := source.pop("$ref", ""):
        source = definitions[reference.rsplit("/", 1)[1]] | source
    kept: JSON = {key: source[key] for key in _KEPT if key in source}
    if source.get("default") not in (None, "", [], {}):
        kept["default"] = source["default"]
    if "exclusiveMinimum" in source:
        # Whole numbers only: the API server cuts a bound like 0.01 to 0 where the value has no fraction.
        kept |= {"minimum": int(source["exclusiveMinimum"]), "exclusiveMinimum": True}
    if kept.get("type") == "integer":
        kept["format"] = _INTEGER_FORMAT
    if kept.get("type") == "array":
        kept["items"] = _plain(source["items"], definitions)
    if isinstance(source.get("additionalProperties"), dict):
        kept["additionalProperties"] = _plain(source["additionalProperties"], definitions)
    if kept.get("type") == "string":
        _speak(kept, source.get("pattern"))
    return kept


def _speak(schema: JSON, pattern: str | None) -> None:
    """Turn pattern and length of a string into rules that say value and bound."""
    rules = []
    if pattern is not None:
        schema.setdefault("minLength", 1)
        rules.append(
            {
                "rule": f"self.matches({raw(pattern)})",
                "messageExpression": f"'\"' + self + '\" ' + {quoted(PATTERNS[pattern])}",
                "message": PATTERNS[pattern],
            }
        )
    if schema.get("maxLength", LONGEST_SPOKEN + 1) <= LONGEST_SPOKEN:
        longest = schema["maxLength"]
        schema["maxLength"] = LENGTH_SLACK * longest
        rules.append(
            {
                "rule": f"self.size() <= {longest}",
                "messageExpression": f"'is %d characters long, at most {longest} are allowed'"
                ".format([self.size()])",
                "message": f"is too long, at most {longest} characters are allowed",
            }
        )
    if rules:
        schema[RULES] = rules
