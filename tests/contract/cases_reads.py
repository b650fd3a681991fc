"""Lists, selectors, pages, watches: what is seen, in which order, and when 410 is the answer."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

import pytest

from meshca.api.names import NAMESPACE, SECRET
from meshca.errors import GoneError, InvalidError, TransientError
from meshca.kube.answers import failure
from meshca.kube.watch import Reflector
from tests.contract.harness import WIDGET, Contract, case


def _names(items: list[dict[str, object]]) -> set[str]:
    return {str(item["metadata"]["name"]) for item in items}  # type: ignore[index]


async def _labelled(c: Contract, name: str, **labels: str) -> None:
    body = c.body(name, color=labels.get("color", "grey"))
    body["metadata"]["labels"] = labels
    await c.gateway.create(WIDGET, body)


@case
async def lists_are_limited_to_a_namespace(c: Contract) -> None:
    await c.widget("a")
    await c.widget("b")
    assert _names(await c.gateway.list(WIDGET, c.namespace)) == {"a", "b"}
    assert await c.gateway.list(WIDGET, "nowhere") == []
    everywhere = [
        item for item in await c.gateway.list(WIDGET) if item["metadata"]["namespace"] == c.namespace
    ]
    assert _names(everywhere) == {"a", "b"}


@case
async def listed_items_know_their_kind(c: Contract) -> None:
    await c.widget("a")
    await c.secret()
    for resource in (WIDGET, SECRET):
        (item,) = await c.gateway.list(resource, c.namespace)
        assert (item["apiVersion"], item["kind"]) == (resource.api_version, resource.kind)


@case
async def label_selectors_select(c: Contract) -> None:
    await _labelled(c, "a", color="red", size="big")
    await _labelled(c, "b", color="blue")
    await _labelled(c, "n")
    rows = {
        "color=red": {"a"},
        "color==red": {"a"},
        "color!=red": {"b", "n"},
        "color in (red, blue)": {"a", "b"},
        "color notin (red)": {"b", "n"},
        "color": {"a", "b"},
        "!color": {"n"},
        "color in (red,blue),size=big": {"a"},
    }
    for selector, wanted in rows.items():
        assert _names(await c.gateway.list(WIDGET, c.namespace, label_selector=selector)) == wanted, selector


@case
async def field_selectors_select(c: Contract) -> None:
    await c.widget("a", color="red")
    await c.widget("b", color="blue")
    rows = {
        "metadata.name=a": {"a"},
        "metadata.name!=a": {"b"},
        f"metadata.namespace={c.namespace}": {"a", "b"},
        "spec.color=blue": {"b"},
        "spec.color=blue,metadata.name=a": set(),
    }
    for selector, wanted in rows.items():
        assert _names(await c.gateway.list(WIDGET, c.namespace, field_selector=selector)) == wanted, selector
    with pytest.raises(InvalidError):
        await c.gateway.list(WIDGET, c.namespace, field_selector="spec.size=1")
    found = await c.gateway.list(NAMESPACE, field_selector=f"metadata.name={c.namespace}")
    assert _names(found) == {c.namespace}


@case
async def secrets_are_selected_by_type(c: Contract) -> None:
    await c.secret("a")
    await c.secret("t", type="kubernetes.io/tls", data={"tls.crt": "QQ==", "tls.key": "QQ=="})
    found = await c.gateway.list(SECRET, c.namespace, field_selector="type=kubernetes.io/tls")
    assert _names(found) == {"t"}


@case
async def pages_are_one_snapshot(c: Contract) -> None:
    for name in "abcde":
        await c.widget(name)
    sizes: list[int] = []
    versions, seen = set(), set()
    async with aclosing(c.gateway.pages(WIDGET, c.namespace, page_size=2)) as pages:
        async for page in pages:
            if not sizes:
                await c.widget("zz")
                await c.delete(await c.get("e"))
            sizes.append(len(page.items))
            versions.add(page.resource_version)
            seen |= _names(page.items)
    assert sizes == [2, 2, 1]
    assert len(versions) == 1
    assert seen == set("abcde")


@case
async def a_page_token_expires_with_the_history(c: Contract) -> None:
    if c.compact is None:
        pytest.skip("this server's history cannot be shortened from here")
    for name in "abc":
        await c.widget(name)
    first = await c.transport.request("GET", c.path(WIDGET), params={"limit": "1"}, timeout=5)
    token = json.loads(first.body)["metadata"]["continue"]
    await c.widget("d")
    await c.compact()
    params = {"limit": "1", "continue": c.age_token(token)}
    answer = await c.transport.request("GET", c.path(WIDGET), params=params, timeout=5)
    assert answer.status == 410
    assert isinstance(failure(answer, "list", write=False), GoneError)


@case
async def metadata_alone_can_be_listed_and_watched(c: Contract) -> None:
    since = await c.version(SECRET)
    body = {"metadata": {"name": "s", "namespace": c.namespace, "labels": {"l": "1"}}, "data": {"a": "QQ=="}}
    await c.gateway.create(SECRET, body)
    async with aclosing(c.gateway.pages(SECRET, c.namespace, metadata_only=True)) as pages:
        items = [item async for page in pages for item in page.items]
    (event,) = await c.events(1, SECRET, since=since, metadata_only=True)
    for item in (*items, event.object):
        assert item["metadata"]["labels"] == {"l": "1"}
        assert "data" not in item
        assert (item["apiVersion"], item["kind"]) == ("v1", "Secret")


@case
async def a_watch_tells_each_change_in_order(c: Contract) -> None:
    since = await c.version()
    await c.widget("a")
    await c.gateway.patch(WIDGET, "a", c.namespace, {"spec": {"size": 2}})
    await c.gateway.patch(WIDGET, "a", c.namespace, {"spec": {"size": 2}})
    await c.gateway.patch(WIDGET, "a", c.namespace, {"status": {"x": 1}}, subresource="status")
    last = await c.get("a")
    await c.delete(last)
    events = await c.events(4, since=since)
    assert [event.type for event in events] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]
    versions = [int(event.object["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))
    assert versions[-1] > int(last["metadata"]["resourceVersion"]), "a deletion has its own version"
    assert events[-1].object["spec"]["size"] == 2


@case
async def a_watch_resumes_where_it_was_told(c: Contract) -> None:
    await c.widget("a")
    second = await c.widget("b")
    await c.widget("c")
    (event,) = await c.events(1, since=second["metadata"]["resourceVersion"])
    assert (event.type, event.object["metadata"]["name"]) == ("ADDED", "c")


@case
async def a_live_watch_hears_what_comes(c: Contract) -> None:
    since = await c.version()
    task = asyncio.create_task(c.events(2, since=since))
    await c.widget("a")
    await c.widget("b")
    assert [event.object["metadata"]["name"] for event in await task] == ["a", "b"]


@case
async def objects_enter_and_leave_a_selector(c: Contract) -> None:
    since = await c.version()
    await c.widget("a", color="red")
    changed = await c.gateway.patch(WIDGET, "a", c.namespace, {"spec": {"color": "blue"}})
    await c.gateway.patch(WIDGET, "a", c.namespace, {"spec": {"color": "red"}})
    events = await c.events(3, since=since, selectors={"fieldSelector": "spec.color=red"})
    assert [event.type for event in events] == ["ADDED", "DELETED", "ADDED"]
    left = events[1].object
    assert left["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"]


@case
async def an_old_version_is_gone(c: Contract) -> None:
    if c.compact is not None:
        await c.widget("a")
        await c.compact()
    with pytest.raises(GoneError):
        await c.events(1, since="1")


@case
async def a_version_that_is_none_is_refused(c: Contract) -> None:
    with pytest.raises(TransientError, match="yesterday"):
        await c.events(1, since="yesterday")


@case
async def a_watch_ends_when_its_time_is_over(c: Contract) -> None:
    since = await c.version()
    async with asyncio.timeout(60):
        assert await c.events(1, since=since, seconds=2) == []


@case
async def a_quiet_watch_gets_a_bookmark_each_minute(c: Contract) -> None:
    await c.widget("a")
    since = await c.version()
    async with (
        asyncio.timeout(120),
        aclosing(c.gateway.watch(WIDGET, c.namespace, resource_version=since)) as stream,
    ):
        event = await anext(stream)
    assert event.type == "BOOKMARK"
    assert event.object["kind"] == "Widget"
    assert int(event.object["metadata"]["resourceVersion"]) >= int(since)


@case
async def a_reflector_sees_everything_once(c: Contract) -> None:
    await c.widget("before")
    heard: list[tuple[str, str]] = []
    done = asyncio.Event()

    def handler(event: object) -> None:
        heard.append((event.type, event.object["metadata"]["name"]))  # type: ignore[attr-defined]
        if event.type == "DELETED":  # type: ignore[attr-defined]
            done.set()

    reflector = Reflector(c.gateway, WIDGET, c.namespace, handler=handler, metadata_only=True)
    task = asyncio.create_task(reflector.run())
    try:
        await reflector.synced.wait()
        made = await c.widget("after")
        await c.delete(made)
        async with asyncio.timeout(60):
            await done.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert heard == [("ADDED", "before"), ("ADDED", "after"), ("DELETED", "after")]
