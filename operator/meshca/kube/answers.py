"""What an answer of the API server means: an object, a change, or one typed error per decision of the caller.

Decides by HTTP status and ``Status.reason``; never by texts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from meshca.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidError,
    MeshCAError,
    MisconfiguredError,
    NotFoundError,
    ThrottledError,
    TransientError,
    UnknownOutcomeError,
)

if TYPE_CHECKING:
    from meshca.api.names import Resource
    from meshca.engine.ports import JSON
    from meshca.kube.transport import Response

KIND_NOT_SERVED = "KindNotServed"
"""The reason of a 404 that is about a kind and not about an object."""
_TEXT_LIMIT = 2000


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change; ``type`` is ADDED, MODIFIED, DELETED, or BOOKMARK inside ``kube``.

    ``listed``: found by comparing a new list with what was known, and not told by a watch.
    """

    type: str
    object: JSON
    listed: bool = False


def failure(response: Response, what: str, *, write: bool) -> MeshCAError:
    """Turn an answer that is no 2xx into the error to raise; ``what`` names the call for people."""
    status = _status(response.body)
    text = str(status.get("message", ""))[:_TEXT_LIMIT] or _unexplained(response.status)
    return classify(
        response.status,
        status,
        f"{what}: {text}",
        write=write,
        retry_after=_seconds(response.headers.get("retry-after", "")),
    )


def decoded(response: Response, *, write: bool = False) -> JSON:
    """Return a success's object; ``TransientError`` or, of a write, ``UnknownOutcomeError`` if it is none."""
    try:
        found = json.loads(response.body)
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    kind = UnknownOutcomeError if write else TransientError
    raise kind("the API server's answer is no JSON object", reason="BadAnswer")


def watch_event(line: bytes, resource: Resource, what: str) -> WatchEvent:
    """Read one line of a watch; raises what an ERROR in it means, ``TransientError`` when it is broken."""
    try:
        document: Any = json.loads(line)
        kind, found = str(document["type"]), document["object"]
    except (ValueError, KeyError, TypeError) as error:
        raise TransientError(f"{what}: broken line", reason="BadAnswer") from error
    if kind == "ERROR":
        code = int(found.get("code") or 500)
        raise classify(code, found, f"{what}: {found.get('message', '')}", write=False)
    found["apiVersion"], found["kind"] = resource.api_version, resource.kind
    return WatchEvent(kind, found)


def classify(
    code: int, status: dict[str, Any], message: str, *, write: bool, retry_after: float = 0.0
) -> MeshCAError:
    """Choose the error for a status code and a (possibly empty) Status object."""
    details: dict[str, Any] = status.get("details") or {}
    reason = _reason(status, details) or _UNEXPLAINED.get(code) or f"HTTP{code}"
    kind = _BY_CODE_AND_REASON.get((code, reason)) or _BY_CODE.get(code, TransientError)
    if code == HTTPStatus.NOT_FOUND and not details.get("name"):
        # Without a name in it, the answer is about the kind and not about the object. Reading
        # "no such object" into it would be wrong in the most dangerous way.
        return MisconfiguredError(f"{message} (kind not served)", reason=KIND_NOT_SERVED)
    if code >= HTTPStatus.INTERNAL_SERVER_ERROR and write:
        kind = UnknownOutcomeError
    if issubclass(kind, TransientError):
        return kind(message, reason=reason, retry_after=retry_after)
    return kind(message, reason=reason)


# 401 passes: the token is read again, or the API server's caches catch up after its restart.
_BY_CODE: dict[int, type[MeshCAError]] = {
    HTTPStatus.BAD_REQUEST: InvalidError,
    HTTPStatus.UNAUTHORIZED: TransientError,
    HTTPStatus.FORBIDDEN: ForbiddenError,
    HTTPStatus.NOT_FOUND: NotFoundError,
    HTTPStatus.METHOD_NOT_ALLOWED: MisconfiguredError,
    HTTPStatus.NOT_ACCEPTABLE: MisconfiguredError,
    HTTPStatus.CONFLICT: ConflictError,
    HTTPStatus.GONE: GoneError,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: InvalidError,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: MisconfiguredError,
    HTTPStatus.UNPROCESSABLE_ENTITY: InvalidError,
    HTTPStatus.TOO_MANY_REQUESTS: ThrottledError,
}
_BY_CODE_AND_REASON: dict[tuple[int, str], type[MeshCAError]] = {
    (HTTPStatus.CONFLICT, "AlreadyExists"): AlreadyExistsError,
    # A PUT answers 409 to another object's uid, merge patch and apply call it an immutable field.
    (HTTPStatus.UNPROCESSABLE_ENTITY, "UIDMismatch"): ConflictError,
}
# An API server with too much to do says so in plain text.
_UNEXPLAINED: dict[int, str] = {HTTPStatus.TOO_MANY_REQUESTS: "TooManyRequests"}
_PHRASES: dict[int, str] = {status: status.phrase for status in HTTPStatus}


def _unexplained(code: int) -> str:
    return f"HTTP {code} ({_PHRASES.get(code, 'unknown')}) without a Status"


def _status(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    # The one that tells of a passed time-out has no kind.
    named = found.get("kind") == "Status" or ("kind" not in found and found.get("status") == "Failure")
    return found if named else {}


def _reason(status: dict[str, Any], details: dict[str, Any]) -> str:
    """Prefer the cause that a caller can act upon: a namespace on its way out is no missing right."""
    causes = details.get("causes") or ()
    if any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
        return "NamespaceTerminating"
    if causes and all(cause.get("field") == "metadata.uid" for cause in causes):
        return "UIDMismatch"
    return str(status.get("reason", ""))


def _seconds(text: str) -> float:
    return float(text) if text.isascii() and text.isdigit() else 0.0
