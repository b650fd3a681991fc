"""After a rotation, status or whole objects are lost: the same root signs on, every leaf is there again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from e2e import scenario, workload
from e2e.client import path_of
from e2e.mesh import rotation
from e2e.rotation import history, population
from meshca.api import names

if TYPE_CHECKING:
    from e2e.cluster import Cluster
    from e2e.installation import Installation
    from e2e.rotation.population import Population

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
KEYS = "keys"


@pytest.fixture
def rotated(disturbed: Installation, room: str) -> tuple[JSON, str, Population]:
    """Return a CA that has rotated, its old root, and its leaves, of which all but the manual one moved."""
    cluster = disturbed.cluster
    body = scenario.configuration(room)
    name = body["metadata"]["name"]
    cluster.apply(body)
    old = cluster.wait(scenario.path(name))["status"]["activeRoot"]
    spec: dict[str, JSON] = {
        "automatic": {"request": workload.csr().pem, "renewal": "Automatic"},
        "manual": {"request": workload.csr().pem},
    }
    people = population.Population(
        [(room, "automatic")], [(KEYS, f"{room}-{n}") for n in "ab"], [(room, "manual")]
    )
    for namespace, leaf in people.everybody:
        wanted = spec.get(leaf, {"secretName": f"{leaf}-tls"})
        workload.create(cluster, workload.leaf(namespace, leaf, caConfigurationName=name, **wanted))
    population.wait_all(cluster, people.everybody, population.is_issued)
    rotation.begin(cluster, name)
    new = rotation.wait_active(cluster, name, old)
    population.wait_all(cluster, people.moving, lambda item: item["status"]["root"] == new)
    population.wait_all(cluster, people.manual, lambda item: item["status"]["state"] == "Rotate")
    return body, old, people


def secrets(cluster: Cluster, people: Population) -> list[JSON]:
    return [cluster.request("GET", scenario.secret_path(f"{leaf}-tls", at)) for at, leaf in people.managed]


def published(cluster: Cluster, body: JSON, room: str) -> str:
    return scenario.bundle(cluster, room, body["spec"]["trustBundle"]["configMapName"])


def wipe(cluster: Cluster, *paths: str) -> None:
    medic = scenario.medic(cluster)
    for path in paths:
        cluster.request("PATCH", f"{path}/status", {"status": None}, identity=medic)


def no_ca_certificate(cluster: Cluster, mark: int, name: str) -> bool:
    return not [
        event
        for event in cluster.audit(mark)
        if event.user == scenario.OPERATOR
        and event.verb == "create"
        and event.resource in {"secrets", "caroots"}
        and name in event.name
    ]


def test_with_every_status_wiped_amid_a_rotation_the_same_root_signs_on(
    disturbed: Installation, room: str, rotated: tuple[JSON, str, Population]
) -> None:
    cluster, (body, old, people) = disturbed.cluster, rotated
    name = body["metadata"]["name"]
    active = rotation.active(cluster, name)
    ca, kept, roots = (
        scenario.authority(cluster, name),
        secrets(cluster, people),
        published(cluster, body, room),
    )
    disturbed.operator.stop()
    mark = cluster.audit_mark()
    wipe(
        cluster,
        scenario.path(name),
        *(path_of(names.CA_ROOT, name=root) for root in (old, active)),
        *(workload.path(*place) for place in people.everybody),
    )
    disturbed.operator.start()
    disturbed.operator.wait_ready()
    scenario.wait_ca(cluster, name, "Initialised")
    found = population.wait_all(cluster, people.everybody, population.is_issued)
    assert rotation.active(cluster, name) == active
    assert scenario.authority(cluster, name) == ca
    assert secrets(cluster, people) == kept, "what managed requests had, they keep"
    assert no_ca_certificate(cluster, mark, name)
    assert {item["status"]["root"] for item in found.values()} == {active}
    scenario.wait_other(
        cluster,
        path_of(names.CA_ROOT, name=old),
        lambda item: (
            (item.get("status") or {}).get("state") == "Retiring" and "prunableAfter" in item["status"]
        ),
    )
    assert published(cluster, body, room) == roots
    chains = [item["status"]["certificateChain"] for item in found.values()]
    assert history.refused_by_openssl((chain, roots) for chain in chains) == []
    cluster.request("DELETE", scenario.path(name))


def test_with_all_lost_but_keys_and_roots_what_is_applied_again_is_as_before(
    disturbed: Installation, room: str, rotated: tuple[JSON, str, Population]
) -> None:
    """The requests come back under new uids: the garbage collector takes the old Secrets, new ones follow."""
    cluster, (body, old, people) = disturbed.cluster, rotated
    name, bundle = body["metadata"]["name"], body["spec"]["trustBundle"]["configMapName"]
    active = rotation.active(cluster, name)
    ca, kept, roots = (
        scenario.authority(cluster, name),
        secrets(cluster, people),
        published(cluster, body, room),
    )
    backup = [cluster.request("GET", workload.path(*place)) for place in people.everybody]
    configuration = cluster.request("GET", scenario.path(name))
    disturbed.operator.stop()
    mark = cluster.audit_mark()
    for place in people.everybody:
        cluster.request("DELETE", workload.path(*place))
    cluster.request("DELETE", scenario.path(name))
    cluster.request("DELETE", path_of(names.CONFIG_MAP, room, bundle))
    cluster.request("DELETE", path_of(names.CONFIG_MAP, scenario.SYSTEM, names.accepted_config_map(name)))
    medic = scenario.medic(cluster)
    wipe(cluster, *(path_of(names.CA_ROOT, name=root) for root in (old, active)))
    cluster.client(medic).request("POST", path_of(names.CA_CONFIGURATION), scenario.restored(configuration))
    for item in backup:
        workload.create(cluster, scenario.restored(item), identity=medic)
    disturbed.operator.start()
    disturbed.operator.wait_ready()

    restored = scenario.wait_ca(cluster, name, "Initialised")
    found = population.wait_all(cluster, people.everybody, population.is_issued)
    assert restored["status"]["activeRoot"] == active
    assert restored["status"]["trustDomain"] == configuration["status"]["trustDomain"]
    assert scenario.authority(cluster, name) == ca
    assert no_ca_certificate(cluster, mark, name)
    assert published(cluster, body, room) == roots
    for before, after in zip(kept, secrets(cluster, people), strict=True):
        assert before["metadata"]["uid"] != after["metadata"]["uid"]
    chains = [item["status"]["certificateChain"] for item in found.values()]
    assert {item["status"]["root"] for item in found.values()} == {active}
    assert history.refused_by_openssl((chain, roots) for chain in chains) == []
    cluster.request("DELETE", scenario.path(name))
