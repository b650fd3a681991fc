"""Clients that break their connection off: before, while and after a write is told, and in a watch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.contract.cases_trouble import writes
from tests.contract.harness import WIDGET, Contract, case

if TYPE_CHECKING:
    import asyncio

JSON = dict[str, Any]
Write = tuple[str, str, JSON, str]


async def _open(c: Contract) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    assert c.dial is not None, "only run where there are sockets"
    return await c.dial()


async def _leave(c: Contract, write: Write, *, missing: int = 0, read: int = 0) -> bytes:
    """Send a write without its last ``missing`` bytes, read so much of the answer, and break off."""
    method, path, body, content_type = write
    content = json.dumps(body).encode()
    query = "?fieldManager=contract&force=true" if "apply" in content_type else ""
    lines = [
        f"{method} {c.path(WIDGET)}{path}{query} HTTP/1.1",
        "Host: contract",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(content)}",
    ]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode()
    reader, writer = await _open(c)
    try:
        writer.write(head + content[: len(content) - missing])
        await writer.drain()
        return await reader.readexactly(read) if read else b""
    finally:
        writer.transport.abort()


@case
async def a_write_that_is_cut_off_in_its_body_is_not_done(c: Contract) -> None:
    held = await c.widget()
    for write in writes(c, held):
        for missing in (1, len(json.dumps(write[2])) - 1):
            await _leave(c, write, missing=missing)
    assert (await c.get())["metadata"]["resourceVersion"] == held["metadata"]["resourceVersion"]
    assert await c.gone(WIDGET, "new")
    assert await c.gone(WIDGET, "applied")


@case
async def a_write_whose_answer_has_begun_is_done(c: Contract) -> None:
    held = await c.widget()
    create, apply, replace, merge, status, delete = writes(c, held)
    for write, name in ((create, "new"), (apply, "applied")):
        assert await _leave(c, write, read=12) == b"HTTP/1.1 201"
        assert (await c.get(name))["spec"]["size"] == 1
    assert await _leave(c, replace, read=12) == b"HTTP/1.1 200"
    assert (await c.get())["spec"]["color"] == "red"
    await c.gateway.patch(WIDGET, "w", c.namespace, {"spec": {"color": "blue"}})
    assert await _leave(c, merge, read=12) == b"HTTP/1.1 200"
    assert (await c.get())["spec"]["color"] == "red"
    assert await _leave(c, status, read=12) == b"HTTP/1.1 200"
    assert (await c.get())["status"] == {"a": 1}
    assert await _leave(c, delete, read=12) == b"HTTP/1.1 200"
    assert await c.gone(WIDGET, "w")


@case
async def a_client_that_leaves_before_the_answer_leaves_a_whole_write_or_none(c: Contract) -> None:
    create, _, replace, _, status, _ = writes(c, held := await c.widget(color="blue"))
    await _leave(c, create)
    if not await c.gone(WIDGET, "new"):
        assert (await c.get("new"))["spec"] == {"size": 1, "shape": "round"}
    await _leave(c, replace)
    await _leave(c, status)
    found = await c.get()
    assert found["spec"]["color"] in {"blue", "red"}
    assert found["spec"] | {"color": "blue"} == held["spec"]
    assert found.get("status", {"a": 1}) == {"a": 1}
    assert found["metadata"]["uid"] == held["metadata"]["uid"]


@case
async def a_client_that_leaves_a_watch_misses_nothing_by_watching_on(c: Contract) -> None:
    since = await c.version()
    await c.widget("first")
    reader, writer = await _open(c)
    query = f"watch=1&resourceVersion={since}&timeoutSeconds=60"
    writer.write(f"GET {c.path(WIDGET)}?{query} HTTP/1.1\r\nHost: contract\r\n\r\n".encode())
    begun = await reader.readuntil(b'"name":"first"')
    assert begun.startswith(b"HTTP/1.1 200 OK\r\n")
    writer.transport.abort()
    await c.widget("second")
    events = await c.events(2, since=since)
    assert [(event.type, event.object["metadata"]["name"]) for event in events] == [
        ("ADDED", "first"),
        ("ADDED", "second"),
    ]


NAMES = (
    a_write_that_is_cut_off_in_its_body_is_not_done.__name__,
    a_write_whose_answer_has_begun_is_done.__name__,
    a_client_that_leaves_before_the_answer_leaves_a_whole_write_or_none.__name__,
    a_client_that_leaves_a_watch_misses_nothing_by_watching_on.__name__,
)
