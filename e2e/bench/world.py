"""One cluster with the operator installed, and what every measurement does in it.

Decides how a load is placed, who runs beside it and how it is cleaned away; never what is measured.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from e2e import installation
from e2e.bench.meter import Meter, Reading
from e2e.bench.names import BARE, OPERATOR
from e2e.errors import ApiError, HarnessError
from e2e.operator_process import OperatorProcesses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.controlplane import ControlPlane

JSON = dict[str, Any]
LEAVES = "/apis/meshca.dev/v1alpha1/leafcertificaterequests"
BUNDLE = "meshca-trust-bundle"
ROUND_SECONDS = 1200
DELETED_AT_ONCE = "500"


class World:
    """The cluster; the operator is stopped until ``operator`` or ``start`` is used."""

    def __init__(self, cluster: ControlPlane) -> None:
        self.cluster = cluster
        made = installation.install(cluster, values={"managedKeys.namespaces": "{*}"})
        assert isinstance(made.operator, OperatorProcesses)
        self.operator = made.operator
        self.operator.stop()

    # --- who runs -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def with_operator(self) -> Iterator[Meter]:
        """Run the operator, its CA Ready, and yield a meter of it and of the servers."""
        self.operator.start()
        try:
            self.operator.wait_ready()
            installation.configure(self.cluster, installation.DEFAULT)
            yield Meter({OPERATOR: self.leader(), **self.cluster.pids()})
        finally:
            self.operator.stop()

    @contextlib.contextmanager
    def with_bare(self) -> Iterator[Meter]:
        """Run the bare signer, and yield a meter of it and of the servers."""
        # Only the operator and the break-glass group may write a status.
        allowed = self.cluster.identity("bare", ["system:masters", "meshca:break-glass"])
        command = [sys.executable, "-m", "e2e.bench.bare", "--kubeconfig", str(allowed)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as signer:
            assert signer.stdout is not None
            signer.stdout.readline()
            try:
                yield Meter({BARE: signer.pid, **self.cluster.pids()})
            finally:
                signer.terminate()

    def leader(self) -> int:
        """Return the process id of the replica that holds the Lease."""
        return self.operator.pid(self.leader_name())

    def leader_name(self) -> str:
        """Return the name of the replica that holds the Lease."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{installation.NAMESPACE}/leases/meshca"
        deadline = time.monotonic() + ROUND_SECONDS
        while time.monotonic() < deadline:
            lease = self.cluster.request("GET", path)
            holder = str(lease["spec"].get("holderIdentity") or "").rsplit("_", 1)[0]
            if holder in self.operator.replicas:
                return holder
            # A Lease that was released says nothing until somebody takes it.
            time.sleep(0.1)
        raise HarnessError("no replica holds the Lease")

    # --- what is asked --------------------------------------------------------------------------

    def place(self, namespace: str, *, bundle: bool) -> None:
        """Make a namespace, with its account and, when an operator runs, its trust bundle."""
        self.cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        self.cluster.wait_for(bool, f"/api/v1/namespaces/{namespace}/serviceaccounts/default")
        if bundle:
            self.cluster.wait_for(bool, f"/api/v1/namespaces/{namespace}/configmaps/{BUNDLE}")

    def until_published(self) -> None:
        """Wait until the status of the CA says that its bundle is in every namespace."""
        # The ClusterTrustBundle is a place, too.
        places = len(self.cluster.request("GET", "/api/v1/namespaces")["items"]) + 1

        def told(objects: list[JSON]) -> bool:
            targets = [item.get("status", {}).get("bundle", {}).get("targets", {}) for item in objects]
            return any(each.get("current") == each.get("total") == places for each in targets)

        self.cluster.wait_for(told, installation.CONFIGURATIONS)

    def load(self, meter: Meter, namespace: str, count: int, *more: str) -> JSON:
        """Put a load into a namespace that ``place`` made; figures, CPU in ms per leaf, and its course."""
        command = [sys.executable, "-m", "e2e.bench.load", "--kubeconfig", str(self.cluster.kubeconfig())]
        command += ["--namespace", namespace, "--count", str(count), *more]
        mark = self.cluster.audit_mark()
        course: list[tuple[int, Reading]] = []
        before = meter.read()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            figures: JSON = {}
            for line in process.stdout:
                figures = json.loads(line)
                if "ready" in figures:
                    course.append((figures["ready"], meter.read()))
        if process.returncode:
            raise HarnessError(f"{' '.join(command)}: exit {process.returncode}")
        after = meter.read()
        found = [event for event in self.cluster.audit(mark) if event.namespace == namespace]
        figures["writes"] = len([event for event in found if event.resource != "leases"]) / count
        figures["cpu"] = {name: value * 1000 / count for name, value in after.since(before).items()}
        figures["foreign"] = after.foreign(before)
        figures["course"] = _course(before, course)
        return figures

    def clear(self, *namespaces: str) -> None:
        """Delete the requests and Secrets of namespaces; best while no operator watches."""
        for namespace in namespaces:
            for path in (
                f"/apis/meshca.dev/v1alpha1/namespaces/{namespace}/leafcertificaterequests",
                f"/api/v1/namespaces/{namespace}/secrets",
            ):
                self._delete_all(path)

    def _delete_all(self, path: str) -> None:
        deadline = time.monotonic() + ROUND_SECONDS
        while self.cluster.request("GET", path, query={"limit": "1"})["items"]:
            if time.monotonic() > deadline:
                raise HarnessError(f"{path}: not empty in {ROUND_SECONDS} s")
            with contextlib.suppress(ApiError, TimeoutError):
                # All ten thousand would take longer than the API server lets one call take.
                self.cluster.request("DELETE", path, query={"limit": DELETED_AT_ONCE})


def _course(before: Reading, readings: list[tuple[int, Reading]]) -> list[JSON]:
    """Return for each thousand leaves its rate and its CPU in ms per leaf."""
    found: list[JSON] = []
    done = 0
    for ready, reading in readings:
        count, seconds = ready - done, reading.at - before.at
        cpu = {name: value * 1000 / count for name, value in reading.since(before).items()}
        found.append({"ready": ready, "rate": count / seconds, "cpu": cpu})
        done, before = ready, reading
    return found
