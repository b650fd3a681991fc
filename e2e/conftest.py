"""Fixtures of the scenarios: one cluster per run, a fresh namespace per test.

``cluster`` and ``installed`` are shared by the whole run: a scenario that stops servers, changes the CA
or needs other chart values takes ``make_cluster`` and its own installation.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e import binaries, faketime, flavours, installation, scenario
from e2e.errors import CannotRunError
from e2e.runtime import fleet
from e2e.witness import Witness
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping
    from concurrent.futures import Future

    from e2e.cluster import Cluster
    from e2e.installation import Installation

LOG_LINES = 15
"""How many of the operator's last log lines are shown with a failed scenario, per replica."""

JSON = dict[str, Any]
_numbers = itertools.count(1)
_clusters: list[Cluster] = []
_witnesses: dict[str, Witness] = {}


def _made(flavour: str, name: str) -> Cluster:
    try:
        cluster = flavours.make(flavour, name)
    except CannotRunError as error:
        if os.environ.get("CLUSTER"):
            pytest.exit(f"CLUSTER={flavour} cannot run here: {error}", returncode=1)
        pytest.skip(f"{flavour}: {error}")
    _clusters.append(cluster)
    return cluster


@contextmanager
def _running(name: str) -> Iterator[Cluster]:
    """Start a cluster of the chosen flavour; when it ends, no private key may have been said anywhere."""
    with _made(flavours.chosen(), name) as cluster, Witness(cluster) as witness:
        _witnesses[name] = witness
        yield cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Return the cluster of this run (``CLUSTER``, default controlplane), started once."""
    with _running("e2e") as made:
        yield made


@pytest.fixture(scope="session")
def witnesses() -> Mapping[str, Witness]:
    """Return who heard everything that was said in each cluster, by the cluster's name."""
    return _witnesses


@pytest.fixture
def make_cluster() -> Iterator[Callable[[str], Cluster]]:
    """Return a function that starts another cluster of the same flavour; it ends with the test."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(_running(name))


@pytest.fixture(scope="session")
def installed(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Installation]:
    """Return meshca installed in the shared cluster, with CAConfiguration ``default`` Ready.

    Managed keys are allowed in every namespace, and bundles of the names ``scenario.SPARE_BUNDLES``.
    """
    items: list[pytest.Item] = request.session.items
    if any("disturbable" in getattr(item, "fixturenames", ()) for item in items):
        # Most of an installation is waiting, so the second one may as well begin now.
        request.getfixturevalue("_second")
    made = installation.install(cluster, values=scenario.VALUES | {"managedKeys.namespaces": "{*}"})
    yield made
    _witnesses["e2e"].hear_out(made.operator)
    made.operator.stop()


@pytest.fixture
def make_ca(installed: Installation, namespace: str) -> Iterator[Callable[..., JSON]]:
    """Return a function that makes one more CA in the shared installation, Ready and published.

    It takes fields of the spec; the CAConfiguration goes with the test.
    """
    made: list[str] = []

    def make(**spec: Any) -> JSON:
        body = scenario.configuration(namespace, **spec)
        made.append(body["metadata"]["name"])
        installation.configure(installed.cluster, body)
        # Ready comes before or after the bundle is everywhere, which costs the status one more write.
        return scenario.wait_published(installed.cluster, body["metadata"]["name"])

    yield make
    for name in made:
        installed.cluster.exchange("DELETE", scenario.path(name))


@pytest.fixture(scope="session")
def _second() -> Iterator[Future[Installation]]:
    """Begin to install meshca in a second cluster and return what will be there."""
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:

        def install() -> Installation:
            cluster = stack.enter_context(_running("disturbed"))
            scenario.make_namespace(cluster, "keys")
            made = installation.install(cluster, values=scenario.STRICT_VALUES)
            stack.callback(made.operator.stop)
            stack.callback(_witnesses["disturbed"].hear_out, made.operator)
            return made

        yield pool.submit(install)


@pytest.fixture(scope="session")
def disturbable(_second: Future[Installation]) -> Installation:
    """Return meshca installed in a second cluster; taken by scenarios through ``disturbed``.

    Managed keys are allowed in namespace ``keys`` only, and it logs all it can.
    """
    return _second.result()


@pytest.fixture
def disturbed(disturbable: Installation) -> Installation:
    """Return an installation that a scenario may disturb: it is whole when the scenario begins.

    Whatever the scenario stops it starts again; what it makes may stay.
    """
    disturbable.operator.start()
    disturbable.operator.wait_ready()
    disturbable.cluster.wait(scenario.path("default"))
    return disturbable


@pytest.fixture
def clock(disturbed: Installation, tmp_path: Path) -> Iterator[Path]:
    """Return the file that says by how much the clock of the operator's processes is off."""
    operator = fleet.processes(disturbed)
    file = tmp_path / "offset"
    faketime.set_offset(file, timedelta(0))
    try:
        environment = faketime.environment(file)
    except CannotRunError as error:
        pytest.skip(str(error))
    operator.stop()
    operator.extra_environment = environment
    operator.start()
    operator.wait_ready()
    yield file
    operator.stop()
    operator.extra_environment = {}
    operator.start()


@pytest.fixture
def room(disturbable: Installation) -> Iterator[str]:
    """Return the name of a namespace made for this test in the cluster of ``disturbed``.

    It stays; CAs that ``scenario.configuration`` made for it go.
    """
    name = f"room-{next(_numbers)}"
    scenario.make_namespace(disturbable.cluster, name)
    yield name
    scenario.remove_cas(disturbable.cluster, name)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """Return the name of a namespace made for this test; its deletion is begun, not waited for.

    CAs that ``scenario.configuration`` made for it go, too.
    """
    name = f"test-{next(_numbers)}"
    scenario.make_namespace(cluster, name)
    yield name
    if scenario.serves(cluster, names.CA_CONFIGURATION):
        scenario.remove_cas(cluster, name)
    cluster.request("DELETE", f"/api/v1/namespaces/{name}")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave the node's scenarios out of a run that asks for another version by ``K8S``."""
    node = Path(__file__).parent / "node"
    return True if collection_path == node and binaries.version() != binaries.VERSION else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what each replica of the operator logged last."""
    report = yield
    arguments = getattr(item, "funcargs", {})
    found: Installation | None = arguments.get("disturbed") or arguments.get("installed")
    if report.failed and found is not None:
        for replica in found.operator.replicas:
            lines = found.operator.logs(replica)[-LOG_LINES:]
            report.sections.append((f"log of {replica}", "\n".join(map(json.dumps, lines))))
    return report


def pytest_sessionstart() -> None:
    """Say that no loop is wanted outside of tests: looptime would have one made that nobody closes."""
    asyncio.set_event_loop(None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name every flavour that could not run, so that nobody takes silence for success."""
    if binaries.version() != binaries.VERSION:
        terminalreporter.write_line(f"Kubernetes {binaries.version()}: control plane only, as asked by K8S")
    if _clusters and (note := binaries.borrowed(_clusters[0].binaries)):
        terminalreporter.write_line(f"NOTE: {note}", yellow=True)
    for flavour, reason in flavours.left_out().items():
        failure = " (with CI=true that is a failure)" if os.environ.get("CI") == "true" else ""
        terminalreporter.write_line(f"NOT RUN: flavour {flavour}: {reason}{failure}", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run in CI when a flavour was left out."""
    if os.environ.get("CI") == "true" and flavours.left_out() and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
