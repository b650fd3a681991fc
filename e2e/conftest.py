"""Fixtures of the scenarios: one cluster per run, a fresh namespace per test.

``cluster`` and ``installed`` are shared by the whole run: a scenario that stops servers, changes the CA
or needs other chart values takes ``make_cluster`` and its own installation.
"""

from __future__ import annotations

import itertools
import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e import binaries, flavours, installation
from e2e.errors import CannotRunError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from e2e.cluster import Cluster
    from e2e.installation import Installation

LOG_LINES = 15
"""How many of the operator's last log lines are shown with a failed scenario, per replica."""

_numbers = itertools.count(1)
_clusters: list[Cluster] = []


def _made(flavour: str, name: str) -> Cluster:
    try:
        cluster = flavours.make(flavour, name)
    except CannotRunError as error:
        if os.environ.get("CLUSTER"):
            pytest.exit(f"CLUSTER={flavour} cannot run here: {error}", returncode=1)
        pytest.skip(f"{flavour}: {error}")
    _clusters.append(cluster)
    return cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Return the cluster of this run (``CLUSTER``, default controlplane), started once."""
    with _made(flavours.chosen(), "e2e") as made:
        yield made


@pytest.fixture
def make_cluster() -> Iterator[Callable[[str], Cluster]]:
    """Return a function that starts another cluster of the same flavour; it ends with the test."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(_made(flavours.chosen(), name))


@pytest.fixture(scope="session")
def installed(cluster: Cluster) -> Iterator[Installation]:
    """Return meshca installed in the shared cluster, with CAConfiguration ``default`` Ready.

    Managed keys are allowed in every namespace.
    """
    made = installation.install(cluster, values={"managedKeys.namespaces": "{*}"})
    yield made
    made.operator.stop()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """Return the name of a namespace made for this test; its deletion is begun, not waited for."""
    name = f"test-{next(_numbers)}"
    cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    cluster.wait_for(bool, f"/api/v1/namespaces/{name}/serviceaccounts/default")
    yield name
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
    installed: Installation | None = getattr(item, "funcargs", {}).get("installed")
    if report.failed and installed is not None:
        for replica in installed.operator.replicas:
            lines = installed.operator.logs(replica)[-LOG_LINES:]
            report.sections.append((f"log of {replica}", "\n".join(map(json.dumps, lines))))
    return report


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
