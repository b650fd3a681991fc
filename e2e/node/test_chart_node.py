"""The real chart in real Pods: its whole life, and that issuing goes on through it."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from e2e import image, installation, polling, workload
from e2e.node import cgroups
from e2e.node.conftest import WAIT, helm, install
from e2e.runtime import fleet

if TYPE_CHECKING:
    from e2e.installation import Installation
    from e2e.node.cluster import NodeCluster

pytestmark = pytest.mark.node

JSON = dict[str, Any]
HOME = installation.NAMESPACE
DEPLOYMENT = f"/apis/apps/v1/namespaces/{HOME}/deployments/{installation.RELEASE}"
PODS = f"/api/v1/namespaces/{HOME}/pods"
SECRETS = f"/api/v1/namespaces/{HOME}/secrets?labelSelector=meshca.dev/key-role"
ROOTS = "/apis/meshca.dev/v1alpha1/caroots"
GAP_SECONDS = 14.0
"""A leader that ends hands over; waiting for its Lease to expire would take 15 s and longer."""


@dataclass(slots=True)
class Issuing:
    """A workload that asks for a new leaf again and again, and for how long each one kept it waiting."""

    cluster: NodeCluster
    namespace: str
    seconds: list[float] = field(default_factory=list)
    failed: list[BaseException] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        assert self._thread is not None
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                name = f"leaf-{len(self.seconds)}"
                began = time.monotonic()
                request = workload.leaf(self.namespace, name, request=workload.csr().pem)
                workload.create(self.cluster, request)
                workload.wait_reason(self.cluster, self.namespace, name, "Issued", timeout=60)
                self.seconds.append(time.monotonic() - began)
                self._over.wait(0.1)
        except BaseException as error:  # noqa: BLE001  told to the test, which would not see it else
            self.failed.append(error)


def ask_until_issued(cluster: NodeCluster, namespace: str) -> JSON:
    """Return the first leaf that is issued; until the policies are in force again they are refused."""
    for number in range(30):
        request = workload.leaf(namespace, f"again-{number}", request=workload.csr().pem)
        workload.create(cluster, request)
        with suppress(TimeoutError):
            return workload.wait_reason(cluster, namespace, f"again-{number}", "Issued", timeout=3)
    raise AssertionError("still refused")


def told(release: Installation) -> dict[str, tuple[int, int, bool]]:
    """Return what each Pod answers to its probes, and whether it leads; leaves out who does not answer."""
    ask, found = release.operator.get, dict[str, tuple[int, int, bool]]()
    for pod in release.operator.replicas:
        try:
            leads = "\nmeshca_leader 1.0" in ask(pod, "/metrics")[1]
            found[pod] = (ask(pod, "/healthz")[0], ask(pod, "/readyz")[0], leads)
        except OSError:
            continue
    return found


def container(cluster: NodeCluster, pod: str) -> JSON:
    """Return the state of a Pod's one container."""
    (status,) = cluster.request("GET", f"{PODS}/{pod}")["status"]["containerStatuses"]
    return dict(status)


def ca(cluster: NodeCluster) -> dict[str, Any]:
    """Return every CA key and every root: which object it is and what is in it."""
    secrets = cluster.request("GET", SECRETS)["items"]
    roots = cluster.request("GET", ROOTS)["items"]
    return {
        **{item["metadata"]["name"]: (item["metadata"]["uid"], item["data"]) for item in secrets},
        **{item["metadata"]["name"]: (item["metadata"]["uid"], item["spec"]) for item in roots},
    }


def minted_since(cluster: NodeCluster, mark: int) -> list[str]:
    """Return the names of the CARoots and of the Secrets beside the operator that were made since a mark.

    CA keys are there; what other scenarios left in namespaces of theirs may be given Secrets meanwhile.
    """
    return [
        event.name
        for event in cluster.audit(mark)
        if event.verb == "create"
        and event.succeeded
        and (event.resource == "caroots" or (event.resource, event.namespace) == ("secrets", HOME))
    ]


def command_line(process: Path) -> bytes:
    """Return the command line of a process by its /proc directory; empty once it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return (process / "cmdline").read_bytes()
    return b""


def processes(cluster: NodeCluster) -> list[Path]:
    """Return the /proc directories of the operator's processes."""
    entries = [Path("/proc", str(pid)) for pid in cluster.sandbox.pids()]
    return [entry for entry in entries if b"/meshca-operator\0" in command_line(entry)]


def memory_limit(process: Path) -> int:
    """Return what the kernel lets a process have, in bytes, by its control group of either version."""
    groups = dict(line.split(":")[1:] for line in (process / "cgroup").read_text().splitlines())
    for hierarchy in cgroups.hierarchies():
        for controller, file in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
            limit = hierarchy / groups.get(controller, "/").lstrip("/") / file
            if limit.exists() and controller in groups:
                return int(limit.read_text())
    raise AssertionError(f"{process} is in no control group that limits memory")


def test_pods_run_as_the_chart_says(release: Installation, node: NodeCluster) -> None:
    release.operator.wait_ready()
    spec = node.request("GET", DEPLOYMENT)["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    found = processes(node)
    assert len(found) == spec["replicas"] == 2
    for process in found:
        status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
        assert status["Uid"].split() == [str(image.USER)] * 4
        assert {int(status[kind], 16) for kind in ("CapEff", "CapPrm", "CapBnd", "CapInh")} == {0}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        mounts = [line.split() for line in (process / "mountinfo").read_text().splitlines()]
        assert [entry[5].split(",")[0] for entry in mounts if entry[4] == "/"] == ["ro"]
        assert container["resources"]["limits"]["memory"] == "512Mi"
        assert memory_limit(process) == 512 << 20


def test_every_replica_answers_and_one_leads(release: Installation, node: NodeCluster) -> None:
    """Polled, because a scenario before may have changed the leader a moment ago, who then reads first."""
    release.operator.wait_ready()

    def wanted() -> dict[str, tuple[int, int, bool]]:
        leader = fleet.leader(node, release.operator)
        return {replica: (200, 200, replica == leader) for replica in release.operator.replicas}

    polling.until(lambda: told(release) == wanted(), lambda: (told(release), fleet.lease(node)), every=0.2)


def test_helm_test_passes(release: Installation, node: NodeCluster) -> None:
    release.operator.wait_ready()
    said = helm(node, "test", "--logs", "--timeout=60s")
    assert "API server answers: 1 caconfigurations.meshca.dev" in said
    assert "Failed" not in said


def test_an_update_and_its_rollback_leave_no_gap_in_issuing(
    release: Installation, node: NodeCluster, place: str
) -> None:
    before = set(release.operator.replicas)
    with Issuing(node, place) as issuing:
        chart = str(installation.CHART)
        helm(node, "upgrade", chart, "--reuse-values", "--set=log.level=debug", *WAIT)
        updated = set(release.operator.replicas)
        helm(node, "rollback", *WAIT)
        after = set(release.operator.replicas)
    assert issuing.failed == []
    assert not before & updated
    assert not updated & after
    assert len(issuing.seconds) > 10
    assert max(issuing.seconds) < GAP_SECONDS


def test_a_killed_leader_comes_back_and_issuing_goes_on(
    release: Installation, node: NodeCluster, place: str
) -> None:
    release.operator.wait_ready()
    killed = fleet.leader(node, release.operator)
    before = container(node, killed)["restartCount"]
    release.operator.kill(killed)
    workload.create(node, workload.leaf(place, "after", request=workload.csr().pem))
    workload.wait_reason(node, place, "after", "Issued", timeout=60)
    release.operator.wait_ready()
    assert killed in release.operator.replicas
    assert container(node, killed)["restartCount"] > before


def test_a_replica_that_is_told_to_stop_hands_over_and_exits_cleanly(
    release: Installation, node: NodeCluster
) -> None:
    release.operator.wait_ready()
    replica = fleet.leader(node, release.operator)
    began = datetime.now(UTC)
    release.operator.restart(replica)
    ended = container(node, replica)["lastState"]["terminated"]
    assert ended["exitCode"] == 0
    # The kubelet may wait before it starts a container again that has ended before.
    assert datetime.fromisoformat(ended["finishedAt"]) - began < timedelta(seconds=10)
    release.operator.wait_ready()


@pytest.mark.usefixtures("release")
def test_installed_again_it_has_the_same_root_and_mints_nothing(node: NodeCluster, place: str) -> None:
    workload.create(node, workload.leaf(place, "kept", request=workload.csr().pem))
    workload.create(node, workload.leaf(place, "managed", secretName="managed-tls"))
    leaves = [workload.wait_reason(node, place, name, "Issued") for name in ("kept", "managed")]
    secret = node.request("GET", f"/api/v1/namespaces/{place}/secrets/managed-tls")
    bundle = node.request("GET", f"/api/v1/namespaces/{place}/configmaps/meshca-trust-bundle")
    before, mark = ca(node), node.audit_mark()
    assert len(before) == 3, "a root, its key and a signer"

    helm(node, "uninstall", "--wait")
    try:
        node.wait_for(lambda pods: not pods, PODS)
        assert processes(node) == []
        assert not installation.exists(node, DEPLOYMENT)
    finally:
        # Other scenarios share the release.
        install(node)
    later = ask_until_issued(node, place)

    assert ca(node) == before
    assert workload.openssl_verify(later["status"]["certificateChain"], bundle["data"]["ca.crt"]) == ""
    for leaf in leaves:
        path = workload.path(place, leaf["metadata"]["name"])
        assert node.request("GET", path)["status"]["certificateChain"] == leaf["status"]["certificateChain"]
    assert node.request("GET", f"/api/v1/namespaces/{place}/secrets/managed-tls") == secret
    minted = minted_since(node, mark)
    assert [name for name in minted if not name.startswith("sh.helm.release.")] == []
