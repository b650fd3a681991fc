"""Which error each answer of the API server becomes."""

from __future__ import annotations

import json

import pytest

from meshca import errors
from meshca.kube.answers import classify, failure
from meshca.kube.transport import Response

NAMED = {"details": {"name": "x", "kind": "things"}}


def _status(reason: str, **more: object) -> dict[str, object]:
    return {"kind": "Status", "reason": reason, "message": "because"} | NAMED | more


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
@pytest.mark.parametrize(
    ("code", "status", "kind", "reason"),
    [
        (400, _status("BadRequest"), errors.InvalidError, "BadRequest"),
        (401, _status("Unauthorized"), errors.TransientError, "Unauthorized"),
        (403, _status("Forbidden"), errors.ForbiddenError, "Forbidden"),
        (404, _status("NotFound"), errors.NotFoundError, "NotFound"),
        (404, {}, errors.MisconfiguredError, "KindNotServed"),
        (404, _status("NotFound", details={}), errors.MisconfiguredError, "KindNotServed"),
        (404, _status("NotFound", details=None), errors.MisconfiguredError, "KindNotServed"),
        (405, _status("MethodNotAllowed"), errors.MisconfiguredError, "MethodNotAllowed"),
        (406, _status("NotAcceptable"), errors.MisconfiguredError, "NotAcceptable"),
        (409, _status("AlreadyExists"), errors.AlreadyExistsError, "AlreadyExists"),
        (409, _status("Conflict"), errors.ConflictError, "Conflict"),
        (409, {}, errors.ConflictError, "HTTP409"),
        (410, _status("Expired"), errors.GoneError, "Expired"),
        (410, _status("Gone"), errors.GoneError, "Gone"),
        (413, _status("RequestEntityTooLarge"), errors.InvalidError, "RequestEntityTooLarge"),
        (415, _status("UnsupportedMediaType"), errors.MisconfiguredError, "UnsupportedMediaType"),
        (422, _status("Invalid"), errors.InvalidError, "Invalid"),
        (429, _status("TooManyRequests"), errors.ThrottledError, "TooManyRequests"),
        (418, {}, errors.TransientError, "HTTP418"),
        (301, {}, errors.TransientError, "HTTP301"),
    ],
)
def test_a_refusal_says_the_same_for_reads_and_writes(
    code: int, status: dict[str, object], kind: type[errors.MeshCAError], reason: str, *, write: bool
) -> None:
    found = classify(code, status, "text", write=write)
    assert type(found) is kind
    assert found.reason == reason


@pytest.mark.parametrize("code", [500, 502, 503, 504])
def test_a_server_error_leaves_only_writes_in_doubt(code: int) -> None:
    assert type(classify(code, {}, "text", write=False)) is errors.TransientError
    assert type(classify(code, {}, "text", write=True)) is errors.UnknownOutcomeError


def test_another_uid_in_a_merge_patch_is_a_conflict() -> None:
    causes = [{"reason": "FieldValueInvalid", "field": "metadata.uid"}] * 2
    found = classify(422, _status("Invalid", details={"causes": causes}), "text", write=True)
    assert type(found) is errors.ConflictError
    assert found.reason == "UIDMismatch"
    mixed = [*causes, {"reason": "FieldValueInvalid", "field": "spec"}]
    found = classify(422, _status("Invalid", details={"causes": mixed}), "text", write=True)
    assert type(found) is errors.InvalidError


def test_a_terminating_namespace_is_told_from_a_missing_right() -> None:
    details = {"name": "x", "causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]}
    found = classify(403, _status("Forbidden", details=details), "text", write=True)
    assert type(found) is errors.ForbiddenError
    assert found.reason == "NamespaceTerminating"


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("", 0.0), ("soon", 0.0), ("-1", 0.0), ("²", 0.0)]
)
def test_retry_after_is_taken_in_seconds(header: str, seconds: float) -> None:
    response = Response(429, {"retry-after": header}, json.dumps(_status("TooManyRequests")).encode())
    found = failure(response, "list things", write=False)
    assert isinstance(found, errors.ThrottledError)
    assert found.retry_after == seconds
    assert found.message == "list things: because"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"kind":"Pod"}', b"\xff"])
def test_an_answer_without_a_status_is_named_by_its_code(body: bytes) -> None:
    found = failure(Response(502, {}, body), "get thing", write=False)
    assert found.message == "get thing: HTTP 502 (Bad Gateway) without a Status"
    assert found.reason == "HTTP502"
    found = failure(Response(599, {}, body), "get thing", write=False)
    assert found.message == "get thing: HTTP 599 (unknown) without a Status"


# As a kube-apiserver 1.37 sent them.
_OVERLOADED = "Too many requests, please try again later.\n"
_TIME_OVER = "Timeout: request did not complete within the allotted timeout"
_ETCD_SLOW = "Timeout: request did not complete within requested timeout - context deadline exceeded"
_ETCD_LOST = "rpc error: code = Unavailable desc = error reading from server: connection reset by peer"
_KIND = '{"kind":"Status","apiVersion":"v1",'
_REST = '"metadata":{},"status":"Failure","message":'
_TIMED_OUT = f'{_REST}"{_TIME_OVER}","reason":"Timeout","details":{{}},"code":504}}\n'
_INITIALIZING = (
    f'{_KIND}{_REST}"storage is (re)initializing","reason":"TooManyRequests",'
    '"details":{"retryAfterSeconds":1},"code":429}\n'
)
_SLOW = f'{_KIND}{_REST}"{_ETCD_SLOW}","reason":"Timeout","details":{{}},"code":504}}\n'
_LOST = f'{_KIND}{_REST}"{_ETCD_LOST}","code":500}}\n'
_TOO_MANY = "HTTP 429 (Too Many Requests) without a Status"


@pytest.mark.parametrize(
    ("answer", "kind", "reason", "says"),
    [
        ((429, "32", _OVERLOADED), errors.ThrottledError, "TooManyRequests", _TOO_MANY),
        ((429, "1", _INITIALIZING), errors.ThrottledError, "TooManyRequests", "storage is (re)initializing"),
        ((504, "0", "{" + _TIMED_OUT), errors.UnknownOutcomeError, "Timeout", _TIME_OVER),
        ((504, "0", _SLOW), errors.UnknownOutcomeError, "Timeout", _ETCD_SLOW),
        ((500, "0", _LOST), errors.UnknownOutcomeError, "HTTP500", _ETCD_LOST),
    ],
    ids=["overloaded", "initializing", "time is over", "etcd slow", "etcd lost"],
)
def test_answers_of_a_server_in_trouble_are_understood(
    answer: tuple[int, str, str], kind: type[errors.TransientError], reason: str, says: str
) -> None:
    code, seconds, body = answer
    found = failure(Response(code, {"retry-after": seconds}, body.encode()), "write", write=True)
    assert isinstance(found, errors.TransientError)
    assert type(found) is kind
    assert (found.reason, found.message) == (reason, f"write: {says}")
    assert found.retry_after == float(seconds)


def test_an_object_that_only_looks_like_a_status_is_none() -> None:
    body = b'{"kind":"Thing","status":"Failure","reason":"Expired","message":"secret"}'
    assert failure(Response(500, {}, body), "get", write=False).reason == "HTTP500"


def test_an_endless_message_is_cut() -> None:
    body = json.dumps({"kind": "Status", "message": "x" * 100_000}).encode()
    assert len(failure(Response(500, {}, body), "w", write=True).message) < 3000
