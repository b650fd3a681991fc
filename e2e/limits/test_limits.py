"""Limits of a CA: nobody is dropped, the rate is kept, nobody is starved by somebody loud."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from e2e import scenario, workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.audit import AuditEvent
    from e2e.cluster import Cluster
    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]


def ask(cluster: Cluster, namespace: str, ca: str, names: list[str], **spec: Any) -> None:
    """Create many requests at once, all over one CSR: what a key costs is not the question here."""
    request = workload.csr().pem

    def create(name: str) -> None:
        body = workload.leaf(namespace, name, caConfigurationName=ca, request=request, **spec)
        workload.create(cluster, body)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(create, names))


def wait_all_issued(cluster: Cluster, namespace: str, count: int, timeout: float = 60) -> list[JSON]:
    def done(items: list[JSON]) -> list[JSON] | None:
        issued = [item for item in items if scenario.ready(item).get("reason") == "Issued"]
        return issued if len(issued) == count else None

    return cluster.wait_for(done, workload.path(namespace), timeout)


def status_writes(cluster: Cluster, mark: int, *namespaces: str) -> list[AuditEvent]:
    """Return the operator's writes of leaf status in these namespaces, in the order they came."""
    found = [
        event
        for event in cluster.audit(mark)
        if event.user == scenario.OPERATOR
        and event.resource == "leafcertificaterequests"
        and event.subresource == "status"
        and event.namespace in namespaces
        and event.succeeded
    ]
    return sorted(found, key=lambda event: event.received)


@pytest.fixture
def crowd(installed: Installation, namespace: str) -> Iterator[str]:
    """Return one more namespace; its deletion is begun with the end of the test."""
    name = f"{namespace}-crowd"
    scenario.make_namespace(installed.cluster, name)
    yield name
    installed.cluster.request("DELETE", f"/api/v1/namespaces/{name}")


def test_146_what_is_over_the_rate_waits_is_told_so_once_and_is_issued(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    cluster, rate, count = installed.cluster, 5, 60
    ca = make_ca(limits={"csrMaxPerSecond": rate})["metadata"]["name"]
    mark = cluster.audit_mark()
    ask(cluster, namespace, ca, [f"web-{number}" for number in range(count)])

    def told(items: list[JSON]) -> JSON | None:
        return next((i for i in items if scenario.ready(i).get("reason") == "RateLimited"), None)

    waiting = cluster.wait_for(told, workload.path(namespace))
    assert f"spec.limits of CAConfiguration '{ca}'" in workload.ready_message(waiting)
    assert "nothing to do" in workload.ready_message(waiting)
    wait_all_issued(cluster, namespace, count)

    writes = status_writes(cluster, mark, namespace)
    issues = [event.received for event in writes if event.verb == "update"]
    notes = [event for event in writes if event.verb == "patch"]
    assert len(issues) == count, "every request is issued exactly once"
    took, least = (issues[-1] - issues[0]).total_seconds(), (count - 1) / rate
    assert 0.95 * least < took < 1.5 * least, "the rate is kept, and used"
    # A moment in which the machine stands still brings a second's worth closer together.
    tens = [(later - first).total_seconds() for first, later in zip(issues, issues[10:], strict=False)]
    assert min(tens) >= 10 / rate - 1, "never many at once"
    assert len({event.name for event in notes}) == len(notes), "nobody is told twice"
    created = {e.name: e.received for e in cluster.audit(mark) if e.verb == "create" and not e.subresource}
    assert all((event.received - created[event.name]).total_seconds() > 4.9 for event in notes)
    late = [e for e in writes if e.verb == "update" and e.received - created[e.name] > timedelta(seconds=10)]
    assert {event.name for event in late} <= {event.name for event in notes}


def test_146_one_at_a_time_is_one_at_a_time(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    cluster, count = installed.cluster, 24
    ca = make_ca(limits={"csrMaxConcurrent": 1})["metadata"]["name"]
    mark = cluster.audit_mark()
    ask(cluster, namespace, ca, [f"web-{number}" for number in range(count)])
    wait_all_issued(cluster, namespace, count)
    writes = [event for event in status_writes(cluster, mark, namespace) if event.verb == "update"]
    assert len(writes) == count
    assert all(later.received >= earlier.time for earlier, later in pairwise(writes)), "two in flight"


def test_a_limit_changed_is_in_force_at_once(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    """One leaf in 50 seconds; once the limit is off nobody waits for the rest of them."""
    cluster = installed.cluster
    ca = make_ca(limits={"csrMaxPerSecond": 0.02})["metadata"]["name"]
    ask(cluster, namespace, ca, ["a", "b", "c"])
    wait_all_issued(cluster, namespace, 1)
    cluster.request("PATCH", scenario.path(ca), {"spec": {"limits": {"csrMaxPerSecond": 0}}})
    wait_all_issued(cluster, namespace, 3, timeout=40)


def test_a_quiet_namespace_is_served_before_the_rest_of_a_loud_one(
    installed: Installation, namespace: str, crowd: str, make_ca: Callable[..., JSON]
) -> None:
    cluster = installed.cluster
    ca = make_ca(limits={"csrMaxPerSecond": 10})["metadata"]["name"]
    mark = cluster.audit_mark()
    ask(cluster, crowd, ca, [f"loud-{number}" for number in range(300)])
    ask(cluster, namespace, ca, ["quiet-0", "quiet-1", "quiet-2"])
    asked = max(e.time for e in cluster.audit(mark) if (e.namespace, e.verb) == (namespace, "create"))
    wait_all_issued(cluster, namespace, 3)
    writes = [e for e in status_writes(cluster, mark, crowd, namespace) if e.verb == "update"]
    quiet = [place for place, event in enumerate(writes) if event.namespace == namespace]
    before = sum(event.namespace == crowd and event.received <= asked for event in writes)
    # Until the operator hears of the quiet one it serves the loud one, as long as that may take.
    assert quiet[0] - before < (300 - before) / 2, "it waited for most of what stood before it"
    assert quiet[-1] < 250, "nobody else was waiting any more, so this proves nothing"
    turns = [e for e in writes[quiet[0] : quiet[-1]] if e.namespace == crowd and e.received > asked]
    assert len(turns) < 12, "three turns of the quiet one, a few already on their way"


def test_renewals_go_on_while_a_crash_loop_asks_for_ever_more(
    installed: Installation, namespace: str, crowd: str, make_ca: Callable[..., JSON]
) -> None:
    cluster, fleet = installed.cluster, [f"healthy-{number}" for number in range(15)]
    ca = make_ca(limits={"csrMaxPerSecond": 15})["metadata"]["name"]
    ask(cluster, namespace, ca, fleet, renewal="Automatic")
    before = {item["metadata"]["name"]: item for item in wait_all_issued(cluster, namespace, len(fleet))}
    ask(cluster, crowd, ca, [f"crash-{number}" for number in range(200)])
    medic = scenario.medic(cluster)

    def make_due(name: str) -> None:
        due = {"status": {"renewAt": "2026-01-01T00:00:00Z"}}
        cluster.request("PATCH", f"{workload.path(namespace, name)}/status", due, identity=medic)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make_due, fleet))
    mark = cluster.audit_mark()

    def renewed(items: list[JSON]) -> bool:
        return all(
            item["status"]["serialNumber"] != before[item["metadata"]["name"]]["status"]["serialNumber"]
            for item in items
        )

    cluster.wait_for(renewed, workload.path(namespace))
    writes = [e for e in status_writes(cluster, mark, namespace, crowd) if e.verb == "update"]
    places = [place for place, event in enumerate(writes) if event.namespace == namespace]
    # Before the first one the operator may not have heard yet that any is due.
    during = writes[places[0] : places[-1] + 1]
    assert len(during) > len(places) > 5, "nobody else was waiting, so this proves nothing"
    assert len(places) + 1 >= 0.3 * len(during), "three turns in ten belong to renewals"
