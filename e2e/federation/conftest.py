"""Fixtures of the scenarios with several clusters: three control planes for the whole run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from e2e.federation.world import EAST, WEST, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from e2e.federation.world import Mesh

MESHES: dict[str, tuple[str, ...]] = {
    "turned": (WEST, EAST),
    "cut": (WEST,),
    "away": (EAST,),
    "revoked": (WEST,),
    "promoted": (EAST,),
    "restored": (EAST,),
    "forgotten": (WEST,),
}
"""Which secondaries each mesh has, each for scenarios of one kind; ``joined`` is joined by the book."""


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """Return a primary and two secondaries, the same in every run whatever ``CLUSTER`` says.

    Two nodes of this harness cannot reach each other; control planes can.
    """
    with World() as made:
        yield made


@pytest.fixture(scope="session")
def meshes(world: World) -> Iterator[dict[str, Future[Mesh]]]:
    """Begin to make every mesh at once: joining is waiting, mostly."""
    with ThreadPoolExecutor(len(MESHES) + 1) as pool:
        made = {name: pool.submit(world.mesh, *sites) for name, sites in MESHES.items()}
        yield {"joined": pool.submit(world.by_the_book)} | made


@pytest.fixture
def mesh(request: pytest.FixtureRequest, meshes: dict[str, Future[Mesh]]) -> Mesh:
    """Return the mesh that a test names by ``@pytest.mark.parametrize("mesh", [...], indirect=True)``."""
    return meshes[request.param].result()
