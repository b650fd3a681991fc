"""The guard against forgotten tasks must itself be able to fail."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

pytest_plugins = ["pytester"]

LEAKS = """
import asyncio

async def test_leaks():
    global task
    task = asyncio.get_running_loop().create_task(asyncio.Event().wait())

async def test_does_not_leak():
    task = asyncio.get_running_loop().create_task(asyncio.sleep(0))
    await task
"""


def test_a_test_that_leaves_a_task_behind_fails(pytester: pytest.Pytester) -> None:
    pytester.makeconftest((Path(__file__).parents[1] / "conftest.py").read_text())
    pytester.makepyfile(LEAKS)
    result = pytester.runpytest_subprocess(
        "-p", "no:randomly", "-p", "no:cacheprovider", "--asyncio-mode=auto"
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*left running*Event.wait*"])


async def test_a_cancelled_task_is_given_time_to_end() -> None:
    asyncio.get_running_loop().create_task(asyncio.sleep(60)).cancel()
