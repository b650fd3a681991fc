"""Fixtures of the scenarios with live traffic."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from e2e.mesh.local import LocalPair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.installation import Installation

JSON = dict[str, Any]


@pytest.fixture
def make_pair(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> Iterator[Callable[..., LocalPair]]:
    """Return a function that makes a CA (fields of its spec) and two workloads of it that can talk."""
    with ExitStack() as stack:
        yield lambda **spec: stack.enter_context(LocalPair(installed.cluster, namespace, make_ca(**spec)))
