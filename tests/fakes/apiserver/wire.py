"""Requests, answers and their forms."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.fakes.apiserver import status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from tests.fakes.apiserver.kinds import Kind

JSON = dict[str, Any]
ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, parsed as far as HTTP goes."""

    method: str
    path: str
    params: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    content_type: str = ""
    accept: str = "application/json"
    user: str = ADMIN
    agent: str = "test"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; ``lines`` in place of ``body`` for a watch."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    lines: AsyncIterator[bytes] | None = None


def parsed(request: Request, allowed: Iterable[str]) -> JSON:
    if request.content_type.split(";")[0] not in allowed:
        raise status.unsupported_media(request.content_type)
    try:
        body = json.loads(request.body)
    except ValueError as error:
        raise status.bad_request("the object provided is unrecognized") from error
    if not isinstance(body, dict):
        raise status.bad_request("the object provided is unrecognized")
    return body


def partial(accept: str, wanted: str) -> bool:
    """Tell whether the first acceptable form is the partial one."""
    for clause in accept.split(","):
        media, *rest = (part.strip() for part in clause.split(";"))
        given = dict(part.split("=", 1) for part in rest if "=" in part)
        if media not in {"application/json", "*/*", "application/*"}:
            continue
        if "as" not in given:
            return False
        if (given["as"], given.get("g"), given.get("v")) == (wanted, "meta.k8s.io", "v1"):
            return True
    raise status.not_acceptable()


def as_partial(item: JSON) -> JSON:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}


def listed(kind: Kind) -> Callable[[JSON], JSON]:
    """Items of built-in kinds come without kind and apiVersion."""
    if kind.custom:
        return dict
    return lambda item: {key: value for key, value in item.items() if key not in {"kind", "apiVersion"}}
