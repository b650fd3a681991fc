"""Many leaves at once, as a mesh has them: asked for in parallel, of each kind.

Decides how they are spread over namespaces; never how they are issued.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from e2e import workload
from e2e.client import path_of
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from e2e.cluster import Cluster

JSON = dict[str, Any]
Place = tuple[str, str]
IN_FLIGHT = 8
AUTOMATIC, MANAGED, MANUAL = "automatic", "managed", "manual"


@dataclass(frozen=True, slots=True)
class Population:
    """Leaves of one CA by kind, each (namespace, name)."""

    automatic: list[Place]
    managed: list[Place]
    manual: list[Place]

    @property
    def moving(self) -> list[Place]:
        """Return those that the operator issues anew by itself."""
        return [*self.automatic, *self.managed]

    @property
    def everybody(self) -> list[Place]:
        """Return all."""
        return [*self.moving, *self.manual]


def make(
    cluster: Cluster, authority: str, namespaces: list[str], *, automatic: int, managed: int, manual: int
) -> Population:
    """Ask for so many leaves of each kind of a CA, in turn in each namespace."""
    people = Population(
        *(
            [(namespaces[number % len(namespaces)], f"{kind}-{number:04d}") for number in range(count)]
            for kind, count in ((AUTOMATIC, automatic), (MANAGED, managed), (MANUAL, manual))
        )
    )
    request = workload.csr().pem
    extra: dict[str, JSON] = {
        AUTOMATIC: {"request": request, "renewal": "Automatic"},
        MANUAL: {"request": request},
    }

    def ask(place: Place) -> None:
        namespace, name = place
        kind = name.partition("-")[0]
        spec = extra.get(kind, {"secretName": f"{name}-tls"})
        body = workload.leaf(namespace, name, caConfigurationName=authority, **spec)
        workload.create(cluster, body)

    together(ask, people.everybody)
    return people


def together(act: Callable[[Place], None], places: Iterable[Place]) -> None:
    """Do something with each leaf, several at a time."""
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        list(pool.map(act, places))


def wait_all(
    cluster: Cluster, places: Iterable[Place], good: Callable[[JSON], bool], timeout: float = 60
) -> dict[Place, JSON]:
    """Wait until all of these leaves are there and are as ``good`` says; return them."""
    wanted = set(places)

    def met(items: list[JSON]) -> dict[Place, JSON] | None:
        found = {place_of(item): item for item in items if place_of(item) in wanted and good(item)}
        return found if len(found) == len(wanted) else None

    return cluster.wait_for(met, path_of(names.LEAF), timeout)


def place_of(body: JSON) -> Place:
    """Return (namespace, name) of an object."""
    return body["metadata"]["namespace"], body["metadata"]["name"]


def is_issued(body: JSON) -> bool:
    """Tell whether a leaf has a certificate and nothing to do."""
    return bool(body.get("status", {}).get("state") == "Issued")
