"""Which kind, object and verb a path means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshca.api import names
from tests.fakes.apiserver import status
from tests.fakes.apiserver.faults import RequestInfo

if TYPE_CHECKING:
    from meshca.api.names import Resource
    from tests.fakes.apiserver.kinds import Kind
    from tests.fakes.apiserver.wire import Request

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def route(request: Request, kinds: dict[Resource, Kind]) -> tuple[RequestInfo, Kind]:
    parts = request.path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise status.PlainError
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and not (group == "" and rest[2] in {"status", "finalize"}):
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource = (*rest, "", "")[:3]
    kind = _kind(kinds, group, version, plural)
    token = (kind.resource, subresource) == (names.SERVICE_ACCOUNT, "token")
    if subresource and not token and (subresource != "status" or not kind.status):
        raise status.ApiError(404, "NotFound", "the server could not find the requested resource", details={})
    verb = _VERBS.get(request.method) or _read_verb(request, name)
    apply = request.content_type == "application/apply-patch+yaml"
    return RequestInfo(request.user, verb, kind.resource, subresource, namespace, name, apply), kind


def _read_verb(request: Request, name: str) -> str:
    if request.method != "GET":
        raise status.method_not_allowed()
    if request.params.get("watch") in {"1", "true"}:
        return "watch"
    return "get" if name else "list"


def _kind(kinds: dict[Resource, Kind], group: str, version: str, plural: str) -> Kind:
    for resource, kind in kinds.items():
        if (resource.group, resource.version, resource.plural) == (group, version, plural):
            return kind
    if group:
        raise status.PlainError
    raise status.ApiError(404, "NotFound", "the server could not find the requested resource", details={})
