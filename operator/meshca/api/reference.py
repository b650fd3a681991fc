"""The API reference as Markdown, from the same schemas that become CRDs.

Decides how fields are shown to people; says nothing that the schemas do not say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from meshca.api import names
from meshca.api.crd import SHAPES, schema
from meshca.api.schema import RULES
from meshca.api.v1alpha1 import KINDS
from meshca.api.v1alpha1.conditions import REASONS
from meshca.api.v1alpha1.scalars import DURATION_PATTERN, PATTERNS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshca.api.v1alpha1.metadata import Object

JSON = dict[str, Any]
_HEAD: Final = f"""# API reference: {names.API_VERSION}

<!-- Generated from the models by `make crds`; edit operator/meshca/api instead. -->

Durations are Go-style strings of hours, minutes and seconds (`72h`, `1h30m`); a day is `24h`. Times are
RFC 3339 in UTC and whole seconds. Certificates are PEM. What breaks a type, a bound or a rule below is
refused by `kubectl apply`.
"""


def api_reference() -> str:
    """Return docs/api.md."""
    parts = [_HEAD, *(_kind(kind) for kind in KINDS), _conditions()]
    return "\n".join(parts)


def _kind(kind: type[Object]) -> str:
    resource, whole = kind.resource, schema(kind)
    scope = "Namespaced" if resource.namespaced else "Cluster-wide"
    lines = [
        f"## {resource.kind}",
        "",
        whole["description"],
        "",
        f"{scope} · `kubectl get {SHAPES[kind].short}` · {_columns(kind)}",
        "",
    ]
    for part in ("spec", "status"):
        lines += [
            f"### {resource.kind}.{part}",
            "",
            "| field | type | default | meaning |",
            "|---|---|---|---|",
        ]
        lines += _rows(part, whole["properties"][part])
        lines.append("")
    if rules := list(_messages(whole)):
        lines += ["Refused:", "", *(f"* {message}" for message in dict.fromkeys(rules)), ""]
    return "\n".join(lines)


def _columns(kind: type[Object]) -> str:
    columns = SHAPES[kind].columns
    return (
        "columns " + ", ".join(f"*{c.name}*" if c.wide else c.name for c in columns) + " (*with `-o wide`*)"
    )


def _rows(path: str, block: JSON) -> Iterator[str]:
    required = set(block.get("required", ()))
    for name, field in block.get("properties", {}).items():
        here = f"{path}.{name}"
        meaning = field.get("description", "")
        default = field.get("default")
        shown = "required" if name in required else f"`{default}`" if _is_plain(default) else ""
        yield f"| `{here}` | {_type(field)} | {shown} | {_escape(meaning)} |"
        if name != "conditions":
            inner = field.get("items", field)
            yield from _rows(here + ("[]" if "items" in field else ""), inner)


def _is_plain(default: Any) -> bool:
    return default is not None and not isinstance(default, dict)


def _type(field: JSON) -> str:
    kind = str(field["type"])
    if kind == "array":
        return f"list of {_type(field['items'])}, at most {field['maxItems']}"
    if "additionalProperties" in field:
        return f"map of {_type(field['additionalProperties'])}"
    if any(rule["message"] == PATTERNS[DURATION_PATTERN] for rule in field.get(RULES, ())):
        return "duration"
    if field.get("format") == "date-time":
        return "time"
    if "enum" in field:
        return " \\| ".join(field["enum"])
    lowest = ">" if field.get("exclusiveMinimum") else "≥"
    bounds = [f"{sign} {field[key]}" for key, sign in (("minimum", lowest), ("maximum", "≤")) if key in field]
    return " ".join([kind, *bounds])


def _messages(block: JSON) -> Iterator[str]:
    for rule in block.get(RULES, ()):
        if not rule["message"].startswith("is "):
            yield _escape(rule["message"])
    for field in block.get("properties", {}).values():
        yield from _messages(field.get("items", field))


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("{", "\\{")


def _conditions() -> str:
    lines = ["## Conditions", "", "| type | reasons |", "|---|---|"]
    lines += [f"| {kind} | {', '.join(reasons)} |" for kind, reasons in REASONS.items()]
    return "\n".join([*lines, ""])
