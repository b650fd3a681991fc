"""Objects as large as they may be, and objects that vanish while somebody works on them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from e2e import scenario, workload
from e2e.client import path_of
from e2e.rotation import population
from e2e.runtime import fleet
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
PAST = "2026-01-01T00:00:00Z"
LARGEST = 250 * 1024
"""Bytes of annotations that the API server takes, nearly."""


@pytest.fixture(autouse=True)
def unharmed(installed: Installation) -> Iterator[None]:
    """See that no replica ended over it."""
    operator = installed.operator
    if installed.cluster.has_nodes:
        pytest.skip("the operator runs in Pods here")
    exits = {name: operator.exits(name) for name in operator.replicas}  # type: ignore[attr-defined]
    yield
    assert {name: operator.exits(name) for name in operator.replicas} == exits  # type: ignore[attr-defined]


def large(body: JSON, size: int = LARGEST) -> JSON:
    """Return an object with annotations of so many bytes."""
    metadata = body["metadata"] | {"annotations": {"notes": "x" * size}}
    return body | {"metadata": metadata}


def test_objects_as_large_as_they_may_be_are_served_and_larger_ones_refused(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    cluster = installed.cluster
    made = make_ca()
    name = made["metadata"]["name"]
    notes = {"metadata": {"annotations": {"notes": "x" * LARGEST}}}
    cluster.request("PATCH", scenario.path(name), notes)
    cluster.request("PATCH", path_of(names.CA_ROOT, name=made["status"]["activeRoot"]), notes)
    for number in range(20):
        spec: JSON = {"request": workload.csr().pem} if number % 2 else {"secretName": f"web-{number}-tls"}
        body = workload.leaf(namespace, f"web-{number}", caConfigurationName=name, **spec)
        workload.create(cluster, large(body))
    places = [(namespace, f"web-{number}") for number in range(20)]
    population.wait_all(cluster, places, population.is_issued)

    where = workload.path(namespace)
    pem = workload.csr().pem
    for body in (
        large(workload.leaf(namespace, "annotated", request=pem), 2 * LARGEST),
        workload.leaf(namespace, "long", request=pem + "x" * 20_000),
        workload.leaf(namespace, "huge", request="x" * 3_300_000),
        workload.leaf(namespace, "many", request=pem, dnsNames=["a.example"] * 10_000),
    ):
        answer = cluster.exchange("POST", where, body)
        assert answer.status in {400, 413, 422}, (answer.status, answer.text[:300])
        assert len(answer.text) < 5000, "it is not repeated"
    bundle = path_of(names.CONFIG_MAP, namespace, made["spec"]["trustBundle"]["configMapName"])
    trusted = cluster.request("GET", bundle)["data"]["ca.crt"]
    cluster.request("PATCH", bundle, {"data": {"ca.crt": trusted + "#" * 900_000}})
    scenario.wait_other(cluster, bundle, lambda item: item["data"]["ca.crt"] == trusted)
    scenario.issue(cluster, namespace, "after", name)


def test_a_namespace_deleted_while_its_leaves_are_issued_is_gone_and_holds_nobody_up(
    installed: Installation, namespace: str
) -> None:
    """Requests come until the API server takes no more; neither they nor their Secrets keep it from going."""
    cluster = installed.cluster
    doomed = f"{namespace}-doomed"
    scenario.make_namespace(cluster, doomed)
    mark = cluster.audit_mark()
    refused = threading.Event()
    request = workload.csr().pem

    def ask(caller: int) -> None:
        for number in range(200):
            name = f"{caller}-{number}"
            spec: JSON = {"request": request} if number % 2 else {"secretName": f"{name}-tls"}
            body = workload.leaf(doomed, name, **spec)
            if cluster.exchange("POST", workload.path(doomed), body).status != 201:
                refused.set()
                return

    callers = [threading.Thread(target=ask, args=(caller,), daemon=True) for caller in range(4)]
    for caller in callers:
        caller.start()
    cluster.wait_for(lambda items: len(items) > 20 or None, workload.path(doomed))
    where = path_of(names.NAMESPACE, name=doomed)
    cluster.request("DELETE", where)
    for caller in callers:
        caller.join()
    assert refused.is_set()
    scenario.wait_gone(cluster, where, timeout=120)
    # Issued at once, as ever, and nothing is left to be tried again.
    workload.create(cluster, workload.leaf(namespace, "web", request=workload.csr().pem))
    workload.wait_reason(cluster, namespace, "web", "Issued")
    workload.create(cluster, workload.leaf(namespace, "kept", secretName="kept-tls"))
    workload.wait_reason(cluster, namespace, "kept", "Issued")
    fleet.pass_time(cluster)  # what had failed is tried once more, and found to be gone
    after = cluster.audit_mark()
    workload.create(cluster, workload.leaf(namespace, "last", request=workload.csr().pem))
    workload.wait_reason(cluster, namespace, "last", "Issued")
    late = [write for write in scenario.operator_writes(cluster, after) if doomed in write[2:]]
    assert late == []
    made = [e for e in cluster.audit(mark) if e.namespace == doomed and e.user == scenario.OPERATOR]
    assert any(event.succeeded for event in made), "it was in the middle of issuing"


def test_a_configuration_deleted_under_live_leaves_and_applied_again_loses_none(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    """Renewals that came due meanwhile and requests that came meanwhile are served afterwards."""
    cluster = installed.cluster
    made = make_ca()
    name = made["metadata"]["name"]
    people = population.make(cluster, name, [namespace], automatic=20, managed=10, manual=10)
    before = population.wait_all(cluster, people.everybody, population.is_issued)
    due = people.automatic[:10]
    ca = scenario.authority(cluster, name)

    cluster.request("DELETE", scenario.path(name))
    scenario.wait_gone(cluster, scenario.path(name))
    medic = scenario.medic(cluster)
    for place in due:
        where = f"{workload.path(*place)}/status"
        cluster.request("PATCH", where, {"status": {"renewAt": PAST}}, identity=medic)
    late, reason = list[population.Place](), ""
    # Some may be issued before the operator hears of it.
    while len(late) < 10 or reason != "ConfigurationNotFound":
        assert len(late) < 50, "issuing goes on without the configuration"
        late.append((namespace, f"late-{len(late)}"))
        body = workload.leaf(*late[-1], caConfigurationName=name, request=workload.csr().pem)
        workload.create(cluster, body)
        answered = scenario.wait_other(
            cluster, workload.path(*late[-1]), lambda item: bool(scenario.ready(item))
        )
        reason = scenario.ready(answered)["reason"]

    cluster.apply(scenario.restored(made))
    again = scenario.wait_ca(cluster, name, "Initialised")
    assert again["status"]["activeRoot"] == made["status"]["activeRoot"]
    after = population.wait_all(cluster, [*people.everybody, *late], population.is_issued)

    def renewed(items: list[JSON]) -> bool:
        found = {population.place_of(item): item["status"]["serialNumber"] for item in items}
        return all(found[place] != before[place]["status"]["serialNumber"] for place in due)

    cluster.wait_for(renewed, workload.path(namespace))
    assert scenario.authority(cluster, name) == ca
    for place in set(people.everybody) - set(due):
        assert after[place]["status"] == before[place]["status"], place
