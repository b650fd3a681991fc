"""Waiting for what nothing announces: a policy, a role or a schema that comes into force, a child's end.

Decides how often is asked. What an object says is watched instead (``Cluster.wait_for``), and what a
server of ours needs for its start is waited for with its log at hand (``processes``, ``node.cluster``).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def until(
    holds: Callable[[], T],
    complaint: str | Callable[[], object],
    *,
    timeout: float = 60.0,
    every: float = 0.05,
) -> T:
    """Ask until the answer is truthy and return it; ``TimeoutError`` that says what is wrong after seconds.

    A complaint that has to be asked for is, once it is too late.
    """
    deadline = time.monotonic() + timeout
    while not (found := holds()):
        if time.monotonic() > deadline:
            text = complaint if isinstance(complaint, str) else complaint()
            raise TimeoutError(f"after {timeout:g} s: {text}")
        time.sleep(every)
    return found
