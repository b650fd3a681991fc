"""What a server with too much to do, too little time or no storage does and says."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from meshca.errors import InvalidError, ThrottledError, TransientError, UnknownOutcomeError
from meshca.kube.answers import failure
from meshca.kube.gateway import Gateway
from tests.contract.harness import WIDGET, Contract, case

if TYPE_CHECKING:
    from meshca.kube.transport import Response, Transport

JSON = dict[str, Any]
PLAIN = "text/plain; charset=utf-8"
_JSON = "application/json"
_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"
# Less than any request takes.
NO_TIME = "1us"
TIME_IS_OVER = {
    "metadata": {},
    "status": "Failure",
    "message": "Timeout: request did not complete within the allotted timeout",
    "reason": "Timeout",
    "details": {},
    "code": 504,
}


def writes(c: Contract, held: JSON) -> list[tuple[str, str, JSON, str]]:
    """Return one write of each kind: method, what follows the collection's path, body, content type."""
    typed = {"apiVersion": WIDGET.api_version, "kind": WIDGET.kind}
    new, other, red = c.body("new"), c.body("applied"), c.body("w", color="red")
    return [
        ("POST", "", typed | new, _JSON),
        ("PATCH", "/applied", typed | other, _APPLY),
        ("PUT", "/w", typed | red | {"metadata": held["metadata"]}, _JSON),
        ("PATCH", "/w", {"spec": {"color": "red"}}, _MERGE),
        ("PATCH", "/w/status", {"status": {"a": 1}}, _MERGE),
        ("DELETE", "/w", {"apiVersion": "v1", "kind": "DeleteOptions"}, _JSON),
    ]


async def _send(
    c: Contract, transport: Transport, write: tuple[str, str, JSON, str], **params: str
) -> Response:
    method, path, body, content_type = write
    more = {"fieldManager": "contract", "force": "true"} if content_type == _APPLY else {}
    return await transport.request(
        method,
        f"{c.path(WIDGET)}{path}",
        params=params | more,
        body=json.dumps(body).encode(),
        content_type=content_type,
        timeout=10,
    )


async def _unchanged(c: Contract, held: JSON) -> None:
    assert (await c.get())["metadata"]["resourceVersion"] == held["metadata"]["resourceVersion"]
    assert await c.gone(WIDGET, "new")
    assert await c.gone(WIDGET, "applied")


def _refused_for_now(answer: Response, *, write: bool) -> None:
    assert (answer.status, answer.headers["content-type"]) == (429, PLAIN)
    assert answer.body == b"Too many requests, please try again later.\n"
    error = failure(answer, "ask", write=write)
    assert isinstance(error, ThrottledError)
    assert error.reason == "TooManyRequests"
    # 1 at first, and twice as much as long as it goes on.
    assert error.retry_after in {1, 2, 4, 8, 16, 32}


@case
async def one_request_too_many_is_refused_in_plain_text(c: Contract) -> None:
    held = await c.widget()
    if c.crowded is None:
        pytest.skip("nobody else may ask here")
    async with c.crowded() as crowd:
        for path in ("", "/w"):
            _refused_for_now(await crowd.request("GET", f"{c.path(WIDGET)}{path}", timeout=10), write=False)
        for write in writes(c, held):
            _refused_for_now(await _send(c, crowd, write), write=True)
        with pytest.raises(ThrottledError) as caught:
            async with aclosing(
                Gateway(crowd).watch(WIDGET, c.namespace, resource_version="", server_seconds=1)
            ) as events:
                await anext(events)
        assert caught.value.retry_after >= 1
        await c.get()  # nobody else is kept waiting
    await _unchanged(c, held)


@case
async def a_write_whose_time_is_over_is_not_done(c: Contract) -> None:
    held = await c.widget()
    for write in writes(c, held):
        answer = await _send(c, c.transport, write, timeout=NO_TIME)
        assert answer.status == 504, answer.body
        assert json.loads(answer.body) == TIME_IS_OVER
        assert answer.headers["content-type"] == PLAIN
        error = failure(answer, "write", write=True)
        # Not done here; but who has too little time later finds the same words.
        assert type(error) is UnknownOutcomeError
        assert error.reason == "Timeout"
    await _unchanged(c, held)


@case
async def a_time_that_cannot_be_read_is_refused(c: Contract) -> None:
    held = await c.widget()
    for text in ("soon", "1", "1 s"):
        for write in writes(c, held):
            answer = await _send(c, c.transport, write, timeout=text)
            assert answer.status == 400, (text, answer.body)
            error = failure(answer, "write", write=True)
            assert type(error) is InvalidError
            assert "invalid timeout specified in the request URL" in error.message
    await _unchanged(c, held)
    for text in ("0s", "-1s", "1.5s", "1m30s"):
        answer = await c.transport.request("GET", f"{c.path(WIDGET)}/w", params={"timeout": text}, timeout=10)
        assert answer.status == 200, (text, answer.body)


async def _outcome(c: Contract, write: tuple[str, str, JSON, str]) -> TransientError:
    try:
        answer = await _send(c, c.transport, write, timeout="1s")
    except TransientError as error:
        return error
    assert answer.status in {500, 504}, answer.body
    found = failure(answer, "write", write=True)
    assert isinstance(found, TransientError)
    return found


async def _reading(c: Contract, path: str) -> TransientError:
    """Read while nothing can be read; the server may break the connection off instead of answering."""
    try:
        answer = await c.transport.request(
            "GET", f"{c.path(WIDGET)}{path}", params={"timeout": "1s"}, timeout=10
        )
    except TransientError as error:
        return error
    assert answer.status in {500, 504}, answer.body
    found = failure(answer, "read", write=False)
    assert isinstance(found, TransientError)
    return found


@case
async def nobody_knows_what_became_of_writes_while_the_storage_hung(c: Contract) -> None:
    held = await c.widget()
    since = await c.version()
    if c.hung is None:
        pytest.skip("what this server keeps its objects in is not ours to stop")
    async with c.hung():
        found = await asyncio.gather(
            *(_outcome(c, write) for write in writes(c, held)), _reading(c, ""), _reading(c, "/w")
        )
        # What is known already can still be watched, and the watch ends in time.
        assert await c.events(1, since=since, seconds=1) == []
    for error in found[:-2]:
        assert type(error) is UnknownOutcomeError
    for error in found[-2:]:
        assert error.reason in {"Timeout", "NoAnswer", "HTTP500", "InternalError"}, error
    await c.eventually(lambda: _serves(c))


async def _serves(c: Contract) -> bool:
    try:
        await c.version()
    except TransientError:
        return False
    return True
