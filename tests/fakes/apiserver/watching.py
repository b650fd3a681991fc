"""The lines of one watch: what was missed, what comes, bookmarks, and how it ends."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.fakes.apiserver import status
from tests.fakes.apiserver.store import Feed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from meshca.api.names import Resource
    from tests.fakes.apiserver.store import Change, Store

JSON = dict[str, Any]
# The real server sends none at the end of a watch, whatever its documentation says.
BOOKMARK_SECONDS = 60.0
FOREVER_SECONDS = 1e9
HALF_LINE = b'{"type":"MODIFIED","object":{"metadata":{"na'


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What the client asked for; ``version`` None means from now, with everything that exists first."""

    resource: Resource
    version: int | None
    selects: Callable[[JSON], bool]
    render: Callable[[JSON], JSON]
    bookmarks: bool
    seconds: float


async def lines(store: Store, options: WatchOptions) -> AsyncIterator[bytes]:
    """Yield lines without their ends until the time is over or the feed is cut."""
    if options.version is not None and options.version < store.compacted:
        error = status.expired(f"too old resource version: {options.version} ({store.compacted})")
        yield _line("ERROR", error.body())
        return
    feed = Feed()
    for change in store.since(options.resource, options.version) if options.version is not None else ():
        feed.put(change)
    feeds = store.feeds.setdefault(options.resource, [])
    feeds.append(feed)
    try:
        if options.version is None:
            for item in store.items(options.resource):
                if options.selects(item):
                    yield _line("ADDED", options.render(item))
        async for line in _follow(store, feed, options):
            yield line
    finally:
        feeds.remove(feed)


async def _follow(store: Store, feed: Feed, options: WatchOptions) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    end = loop.time() + options.seconds
    bookmark = loop.time() + BOOKMARK_SECONDS
    while True:
        while feed.changes and not feed.silent:
            line = _selected(feed.changes.popleft(), options)
            if line is not None:
                yield line
        if feed.cut:
            if feed.half_line:
                yield HALF_LINE
            return
        feed.ready.clear()
        due = min(end, bookmark)
        try:
            async with asyncio.timeout_at(due):
                await feed.ready.wait()
        except TimeoutError:
            if feed.silent:
                end = bookmark = loop.time() + FOREVER_SECONDS
                continue
            # Timers may fire a hair early, so the clock is not asked again.
            if due == end:
                return
            bookmark = loop.time() + BOOKMARK_SECONDS
            # A bookmark past a change that this watch was not told would hide it for ever.
            if options.bookmarks and not feed.changes and not feed.cut:
                yield _bookmark(store, options)


def _selected(change: Change, options: WatchOptions) -> bytes | None:
    """Translate a change for a selector: what begins to match is ADDED, what no longer does DELETED."""
    now = change.type != "DELETED" and options.selects(change.item)
    before = change.before is not None and options.selects(change.before)
    if now:
        return _line("MODIFIED" if before else "ADDED", options.render(change.item))
    if before and change.before is not None:
        gone = change.item if change.type == "DELETED" else change.before
        metadata = gone["metadata"] | {"resourceVersion": str(change.version)}
        return _line("DELETED", options.render(gone | {"metadata": metadata}))
    return None


def _bookmark(store: Store, options: WatchOptions) -> bytes:
    empty = {
        "apiVersion": options.resource.api_version,
        "kind": options.resource.kind,
        "metadata": {"resourceVersion": str(store.version), "creationTimestamp": None},
    }
    return _line("BOOKMARK", options.render(empty))


def _line(type_: str, item: JSON) -> bytes:
    return json.dumps({"type": type_, "object": item}, separators=(",", ":")).encode()
