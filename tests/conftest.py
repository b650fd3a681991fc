"""Rules that hold for every test: no task outlives it, and hypothesis is as thorough as the place allows."""

from __future__ import annotations

import asyncio
import inspect
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=100, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))

_TURNS = 5


def pytest_sessionstart() -> None:
    """Say that no loop is wanted outside of tests.

    looptime asks the policy for one before each test. Before the first asynchronous test the policy would
    make one up, which nobody closes, and the ResourceWarning would fail the run at its end.
    """
    asyncio.set_event_loop(None)


@pytest.fixture
async def _watched_tasks() -> AsyncIterator[None]:
    """Fail when a test leaves a task behind; a few turns of the loop let cancelled ones end."""
    yield
    me = asyncio.current_task()
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    pending = [task for task in asyncio.all_tasks() if task is not me]
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    if pending:
        pytest.fail(f"left running: {[task.get_coro() for task in pending]}", pytrace=False)


@pytest.fixture(autouse=True)
def _no_pending_tasks(request: pytest.FixtureRequest) -> None:
    """Watch the tests that have a loop, and only those."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("_watched_tasks")
