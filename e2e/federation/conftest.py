"""Fixtures of the scenarios with several clusters: three control planes for the whole run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import pytest

from e2e import installation, scenario
from e2e.client import path_of
from e2e.federation.world import EAST, PRIMARY, SECONDS, WEST, World
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from e2e.cluster import Cluster
    from e2e.federation.world import Mesh
    from e2e.installation import Installation

JSON = dict[str, Any]

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
def cluster(world: World) -> Cluster:
    """Return the primary, so that no further control plane is started for the scenarios of one alone."""
    return world.sites[PRIMARY].cluster


@pytest.fixture(scope="session")
def installed(world: World) -> Installation:
    """Return what is installed in the primary."""
    return world.sites[PRIMARY]


@pytest.fixture
def make_ca(installed: Installation, namespace: str) -> Iterator[Callable[..., JSON]]:
    """Return a function that makes one more CA in the primary, with a bundle name that no mesh has.

    It takes fields of the spec; the CAConfiguration goes with the test, and who was registered with it.
    """
    made: list[str] = []

    def make(**spec: Any) -> JSON:
        body = scenario.configuration(namespace, federated=True, **spec)
        made.append(body["metadata"]["name"])
        return installation.configure(installed.cluster, body, SECONDS)

    yield make
    registered = installed.cluster.request("GET", path_of(names.FEDERATED_CLUSTER))["items"]
    for item in registered:
        if item["spec"].get("caConfigurationName", "default") in made:
            where = path_of(names.FEDERATED_CLUSTER, name=item["metadata"]["name"])
            installed.cluster.exchange("DELETE", where)
    for name in made:
        installed.cluster.exchange("DELETE", scenario.path(name))


@pytest.fixture(scope="session")
def meshes(world: World) -> Iterator[dict[str, Future[Mesh]]]:
    """Begin to make every mesh at once: joining is waiting, mostly."""
    with ThreadPoolExecutor(len(MESHES) + 1) as pool:
        made = {name: pool.submit(world.mesh, *sites) for name, sites in MESHES.items()}
        yield {"joined": pool.submit(world.by_the_book)} | made


@pytest.fixture
def mesh(request: pytest.FixtureRequest, meshes: dict[str, Future[Mesh]]) -> Mesh:
    """Return the mesh that a test names by ``@pytest.mark.parametrize("mesh", [...], indirect=True)``.

    Once all are made: a test may stop a server that another mesh is still being joined to.
    """
    wait(meshes.values())
    return meshes[request.param].result()
