"""Bodies as they arrive, and their parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.fakes.apiserver import status

if TYPE_CHECKING:
    from tests.fakes.apiserver.kinds import Kind

JSON = dict[str, Any]


def decoded(kind: Kind, body: JSON) -> JSON:
    wanted = (kind.resource.api_version, kind.resource.kind)
    if body.get("apiVersion") != wanted[0] or not body.get("kind"):
        raise status.bad_request(
            f"the API version in the data ({body.get('apiVersion')}) does not match the expected {wanted}"
        )
    if body["kind"] != wanted[1]:
        name = str((body.get("metadata") or {}).get("name", ""))
        if kind.custom:
            raise status.invalid(kind.resource, name, "kind", f"Invalid value: must be {wanted[1]}")
        raise status.bad_request(f"{body['kind']} cannot be handled as a {wanted[1]}")
    return body | {
        "metadata": {key: value for key, value in (body.get("metadata") or {}).items() if value is not None}
    }


def merge_patch(target: Any, patch: Any) -> Any:
    """Merge as RFC 7386 says."""
    if not isinstance(patch, dict):
        return patch
    found = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merge_patch(found.get(key), value)
    return found


def body(item: JSON) -> JSON:
    return {key: value for key, value in item.items() if key not in {"metadata", "status"}}


def held(item: JSON) -> bool:
    """Tell whether a namespace waits for its content."""
    return item["kind"] == "Namespace" and bool((item.get("spec") or {}).get("finalizers"))
