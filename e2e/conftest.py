"""Fixtures of the scenarios: one cluster per run, a fresh namespace per test."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from e2e import flavours
from e2e.errors import CannotRunError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Return the cluster of this run (``CLUSTER``, default controlplane), started once."""
    try:
        made = flavours.make(flavours.chosen(), "e2e")
    except CannotRunError as error:
        pytest.skip(str(error))
    with made:
        yield made


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """Return the name of a namespace made for this test; its deletion is begun, not waited for."""
    name = f"test-{next(_numbers)}"
    cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    cluster.wait_for(bool, f"/api/v1/namespaces/{name}/serviceaccounts/default")
    yield name
    cluster.request("DELETE", f"/api/v1/namespaces/{name}")
