"""Renderings that no test changes, and a control plane on which the chart comes and goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from e2e import flavours
from e2e.chart import render
from e2e.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster

JSON = dict[str, Any]


@pytest.fixture(scope="session")
def default() -> list[JSON]:
    """Return the objects of the chart with no values given."""
    return render.objects()


@pytest.fixture(scope="session")
def full() -> list[JSON]:
    """Return the objects of the chart with every value changed."""
    return render.objects(*render.CASES["full"])


@pytest.fixture(scope="session")
def blank() -> Iterator[Cluster]:
    """Return a control plane, whatever ``CLUSTER`` says, on which no module leaves a release behind.

    The namespaces that releases are about exist, and stay.
    """
    with flavours.make("controlplane", "chart") as made, Witness(made):
        for name in (render.NAMESPACE, "shop", "bank"):
            made.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
            made.wait_for(bool, f"/api/v1/namespaces/{name}/serviceaccounts/default")
        yield made
