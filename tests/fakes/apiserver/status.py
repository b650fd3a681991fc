"""Status objects with the codes, reasons and details of the real API server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshca.api.names import Resource

JSON = dict[str, Any]
_DENIALS = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413, "Invalid": 422}


class ApiError(Exception):
    """An answer that is no success."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: JSON | None = None,
        headers: dict[str, str] | None = None,
        text: str = "",
    ) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.headers = headers or {}
        # What is sent, as plain text, in place of a Status.
        self.text = text

    def body(self) -> JSON:
        status: JSON = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        return status


class PlainError(Exception):
    """An answer in text: the path leads nowhere."""

    code = 404
    text = "404 page not found\n"


def qualified(resource: Resource) -> str:
    return f"{resource.plural}.{resource.group}" if resource.group else resource.plural


def _details(resource: Resource, name: str) -> JSON:
    details: JSON = {"name": name, "kind": resource.plural}
    if resource.group:
        details["group"] = resource.group
    return details


def not_found(resource: Resource, name: str) -> ApiError:
    return ApiError(
        404, "NotFound", f'{qualified(resource)} "{name}" not found', details=_details(resource, name)
    )


def already_exists(resource: Resource, name: str) -> ApiError:
    return ApiError(
        409,
        "AlreadyExists",
        f'{qualified(resource)} "{name}" already exists',
        details=_details(resource, name),
    )


def conflict(resource: Resource, name: str, why: str = "") -> ApiError:
    text = (
        why or "the object has been modified; please apply your changes to the latest version and try again"
    )
    return ApiError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {qualified(resource)} "{name}": {text}',
        details=_details(resource, name),
    )


def field_conflict(paths: list[str], manager: str) -> ApiError:
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{manager}"', "field": path}
        for path in paths
    ]
    return ApiError(
        409,
        "Conflict",
        f'Apply failed with {len(paths)} conflict(s): conflicts with "{manager}": {", ".join(paths)}',
        details={"causes": causes},
    )


def invalid(
    resource: Resource, name: str, field: str, text: str, reason: str = "FieldValueInvalid"
) -> ApiError:
    details = _details(resource, name) | {
        "kind": resource.kind,
        "causes": [{"reason": reason, "message": text, "field": field}],
    }
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    return ApiError(422, "Invalid", f'{kind} "{name}" is invalid: {field}: {text}', details=details)


def forbidden(resource: Resource, name: str, why: str, causes: list[JSON] | None = None) -> ApiError:
    details = _details(resource, name) | ({"causes": causes} if causes else {})
    return ApiError(403, "Forbidden", f'{qualified(resource)} "{name}" is forbidden: {why}', details=details)


def denied(
    resource: Resource, name: str, says: str, *, policy: str, binding: str, reason: str = "Invalid"
) -> ApiError:
    """Refuse like a ValidatingAdmissionPolicy: the reason is the policy's, the words are always the same."""
    why = f"ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {says}"
    error = forbidden(resource, name, why, [{"message": why}])
    error.code, error.reason = _DENIALS[reason], reason
    return error


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def expired(message: str) -> ApiError:
    return ApiError(410, "Expired", message)


def too_many(seconds: int = 1) -> ApiError:
    """Refuse like Priority and Fairness, which asks for 1, 2, 4 ... 32 seconds the longer it has to."""
    text = "Too many requests, please try again later.\n"
    return ApiError(429, "TooManyRequests", text, headers={"Retry-After": str(seconds)}, text=text)


def initializing() -> ApiError:
    """Refuse like a watch cache that is being filled: for moments after a kind or the server is new."""
    return ApiError(
        429,
        "TooManyRequests",
        "storage is (re)initializing",
        details={"retryAfterSeconds": 1},
        headers={"Retry-After": "1"},
    )


def timed_out() -> ApiError:
    """Give up when the request's time is over: a Status without its kind, called plain text."""
    error = ApiError(
        504, "Timeout", "Timeout: request did not complete within the allotted timeout", details={}
    )
    body = error.body()
    del body["kind"], body["apiVersion"]
    error.text = json.dumps(body, separators=(",", ":")) + "\n"
    return error


def bad_timeout(text: str) -> ApiError:
    return bad_request(f'invalid timeout specified in the request URL - time: invalid duration "{text}"')


def storage_lost(
    message: str = "rpc error: code = Unavailable desc = error reading from server: EOF",
) -> ApiError:
    """Tell an error of etcd's: it has no reason, and nobody knows whether a write was done."""
    return ApiError(500, "", message)


def internal(message: str = "Internal error occurred") -> ApiError:
    return ApiError(500, "InternalError", message)


def unavailable(message: str = "the server is currently unable to handle the request") -> ApiError:
    return ApiError(503, "ServiceUnavailable", message)


def unsupported_media(content_type: str) -> ApiError:
    return ApiError(
        415,
        "UnsupportedMediaType",
        f"the body of the request was in an unknown format ({content_type!r})",
    )


def not_acceptable() -> ApiError:
    return ApiError(406, "NotAcceptable", "only application/json is served here")


def method_not_allowed() -> ApiError:
    return ApiError(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
    )
