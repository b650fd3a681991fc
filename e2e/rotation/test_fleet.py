"""A rotation under 250 leaves of each kind, watched in every state: nothing fails, nothing is done twice."""

from __future__ import annotations

import time
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from e2e import installation, scenario, workload
from e2e.client import path_of
from e2e.mesh import rotation
from e2e.rotation import history, population
from e2e.rotation.recorder import Recorder, State
from e2e.runtime import fleet
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster
    from e2e.installation import Installation
    from e2e.rotation.population import Population

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
PHASES = ["Prepare", "Publish", "Activate", "Reissue", "Complete"]
EVENTS = ["RotationPrepare", "RotationPublish", "RotationActivate", "RotationReissue", "RotationCompleted"]


@pytest.fixture
def places(cluster: Cluster, namespace: str) -> Iterator[list[str]]:
    """Return the names of three namespaces that have one label in common: their bundle's selector."""
    more = [f"{namespace}-{letter}" for letter in "bc"]
    label = {"e2e-rotation": namespace}
    cluster.request("PATCH", path_of(names.NAMESPACE, name=namespace), {"metadata": {"labels": label}})
    for name in more:
        scenario.make_namespace(cluster, name, label)
    yield [namespace, *more]
    for name in more:
        cluster.request("DELETE", path_of(names.NAMESPACE, name=name))


@pytest.fixture
def authority(installed: Installation, places: list[str]) -> Iterator[JSON]:
    """Return a CA that is published in all of ``places``."""
    body = scenario.configuration(places[0])
    body["spec"]["trustBundle"]["namespaceSelector"] = {"matchLabels": {"e2e-rotation": places[0]}}
    yield installation.configure(installed.cluster, body)
    installed.cluster.exchange("DELETE", scenario.path(body["metadata"]["name"]))


def recorder(cluster: Cluster, authority: JSON, places: list[str]) -> Recorder:
    bundle = authority["spec"]["trustBundle"]["configMapName"]
    return Recorder(
        cluster,
        {
            history.CONFIGURATION: [scenario.path(authority["metadata"]["name"])],
            history.ROOT: [path_of(names.CA_ROOT)],
            history.BUNDLE: [path_of(names.CONFIG_MAP, place, bundle) for place in places],
            history.LEAF: [path_of(names.LEAF, place) for place in places],
            history.SECRET: [path_of(names.SECRET, place) for place in places],
        },
    )


def answer(cluster: Cluster, authority: str, people: Population) -> list[tuple[str, str]]:
    """Do what holders of manual leaves do when they read Rotate: ask by a new object, drop the old one."""
    request = workload.csr().pem

    def ask(place: tuple[str, str]) -> None:
        body = workload.leaf(place[0], f"{place[1]}-again", caConfigurationName=authority, request=request)
        workload.create(cluster, body)

    population.together(ask, people.manual)
    again = [(namespace, f"{name}-again") for namespace, name in people.manual]
    population.wait_all(cluster, again, population.is_issued)
    population.together(lambda place: cluster.request("DELETE", workload.path(*place)), people.manual)  # type: ignore[arg-type]
    return again


def events(cluster: Cluster, name: str, reason: str) -> Counter[str]:
    """Return how often each Event about a CA was told, once the one with this reason is there."""
    path = "/apis/events.k8s.io/v1/namespaces/default/events"

    def about(items: list[JSON]) -> Counter[str] | None:
        told: Counter[str] = Counter()
        for item in items:
            if item["regarding"].get("name") == name and item["regarding"]["kind"] == "CAConfiguration":
                told[item["reason"]] += item.get("series", {}).get("count", 1)
        return told if told[reason] else None

    return cluster.wait_for(about, path)


def assert_progress(states: list[State]) -> None:
    """Phases in their order, and figures that never go back."""
    told = history.rotations(states)
    assert history.without_repeats([item["phase"] for item in told]) == PHASES
    counted = [item for item in told if "percent" in item]
    assert len(counted) > 4
    for figure in ("percent", "reissued", "leaves"):
        assert all(a[figure] <= b[figure] for a, b in pairwise(counted)), figure
    assert all(item["percent"] == 100 * item["reissued"] // item["leaves"] for item in counted)
    assert all("estimatedEnd" in item for item in counted[1:-1] if item["percent"] < 100)


def assert_trust(states: list[State], old: str, *, pruned_at: int) -> None:
    """I2 and I3 for every state that was recorded, and the pairs that met, each verified by OpenSSL."""
    before = [state for state in states if state.version < pruned_at]
    assert history.unmet_needs(before, replaced=True) == []
    assert history.unmet_needs(states, replaced=False) == []
    met = history.meetings(before, replaced=True)
    chains, bundles = ({pair[side] for pair in met} for side in (0, 1))
    late = {(chain, bundle) for chain in chains for bundle in bundles}
    assert met <= late, "a peer that is late holds an earlier bundle"
    after = history.meetings(states, replaced=False)
    assert after - late, "the bundle without the old root met leaves too"
    assert history.refused_by_openssl(late | after) == []
    without = [text for text in {pair[1] for pair in after} if old not in text]
    assert history.refused_by_openssl((chain, without[0]) for chain in chains) != [], "OpenSSL does refuse"
    print(f"{len(met)} pairs met before the prune, {len(late | after)} verified")


def assert_secrets(states: list[State]) -> None:
    """What managed Secrets hold was published and was issued."""
    bundles = {history.bundle_of(state) for state in states if state.kind == history.BUNDLE}
    chains = {history.chain_of(state) for state in states if state.kind == history.LEAF}
    for state in states:
        if state.kind == history.SECRET and state.body is not None:
            assert workload.secret_entry(state.body, "ca.crt").decode() in bundles
            assert workload.secret_entry(state.body, "tls.crt").decode() in chains


def assert_writes(cluster: Cluster, mark: int, people: Population, again: list[tuple[str, str]]) -> None:
    """I7: one write for a CSR leaf that moves, two for a managed one, one to say Rotate."""
    status, places = "leafcertificaterequests/status", {namespace for namespace, _ in people.everybody}
    told = Counter(write for write in scenario.operator_writes(cluster, mark) if write[2] in places)
    wanted = Counter(("update", status, *place) for place in [*people.moving, *again])
    wanted += Counter(("patch", status, *place) for place in people.manual)
    wanted += Counter(("patch", "secrets", space, f"{name}-tls") for space, name in people.managed)
    leaves = Counter({write: n for write, n in told.items() if write[1] != "configmaps"})
    assert leaves == wanted
    bundles = [n for write, n in told.items() if write[1] == "configmaps"]
    assert bundles == [1] * len(places), "each bundle is written once"


def test_099_107_many_leaves_move_to_another_root_and_every_state_on_the_way_is_good(
    installed: Installation, places: list[str], authority: JSON
) -> None:
    """Rotate, let the holders of manual leaves answer, then have the old root pruned."""
    cluster, name = installed.cluster, authority["metadata"]["name"]
    old = rotation.active(cluster, name)
    certificate = rotation.certificate(cluster, old)
    people = population.make(cluster, name, places, automatic=100, managed=100, manual=50)
    before = population.wait_all(cluster, people.everybody, population.is_issued)
    for place in places:
        scenario.bundle(cluster, place, authority["spec"]["trustBundle"]["configMapName"])
        scenario.bundle(cluster, place)  # of the default CA, which is published there too
    fleet.pass_time(cluster, 1)  # a status is seen before the audit log has it
    mark = cluster.audit_mark()
    with recorder(cluster, authority, places) as recording:
        began = time.monotonic()
        rotation.begin(cluster, name)

        def moved(body: JSON) -> bool:
            was = before[population.place_of(body)]["status"]["certificateChain"]
            return population.is_issued(body) and body["status"]["certificateChain"] != was

        population.wait_all(cluster, people.moving, moved)
        wall = time.monotonic() - began
        population.wait_all(cluster, people.manual, lambda body: body["status"]["state"] == "Rotate")
        again = answer(cluster, name, people)
        done = rotation.follow(cluster, name, old)
        told = events(cluster, name, EVENTS[-1])
        assert_writes(cluster, mark, people, again)
        fleet.pass_time(cluster)  # the phase is written before what goes with its end
        quiet = cluster.audit_mark()
        fleet.pass_time(cluster)
        assert scenario.writes_for(cluster, quiet, name, places[0]) == [], (
            "nothing is written once it is done"
        )
        pruned_at = int(cluster.request("GET", path_of(names.CA_ROOT))["metadata"]["resourceVersion"])
        rotation.prune_now(cluster, old)
        states = recording.settle()
    states = [s for s in states if s.kind != history.ROOT or s.name.startswith(f"{name}-")]

    print(f"200 leaves moved in {wall:.1f} s at 50 per second")
    new = done["status"]["activeRoot"]
    assert history.activations(states) == [old, new]
    assert_progress(states)
    assert {reason: told[reason] for reason in EVENTS} == dict.fromkeys(EVENTS, 1)
    assert told["RootActivated"] == 2, "the first root, then this one"
    assert (done["status"]["rotation"]["leaves"], done["status"]["rotation"]["reissued"]) == (250, 250)
    rotate = Counter(
        (s.namespace, s.name)
        for s in states
        if s.kind == history.LEAF and s.body and s.body.get("status", {}).get("state") == "Rotate"
    )
    # Its deletion is no state with a status of its own.
    assert rotate == Counter(people.manual)
    assert_trust(states, certificate.strip(), pruned_at=pruned_at)
    assert_secrets(states)
