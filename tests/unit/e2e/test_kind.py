"""The commands of the kind flavour, written down by a runner that runs nothing."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from e2e import kind
from e2e.credentials import Authority
from e2e.errors import CannotRunError, HarnessError
from e2e.kind import KindCluster

if TYPE_CHECKING:
    from collections.abc import Sequence

    from e2e.existing import Runner


class Recorder:
    """Writes commands down and answers what a working Docker would."""

    def __init__(self, kubeconfig: str) -> None:
        self.calls: list[list[str]] = []
        self._kubeconfig = kubeconfig

    def __call__(self, command: Sequence[str]) -> str:
        self.calls.append(list(command))
        return {
            ("docker", "info"): '"28.1"',
            ("kind", "get"): self._kubeconfig,
            ("docker", "exec"): "c0ffee\n",
        }.get((command[0], command[1]), "")

    def lines(self) -> list[str]:
        return [" ".join(call) for call in self.calls]


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    authority = Authority(tmp_path / "pki", "kind")
    certificate = authority.issue("admin", "admin")
    entry = {
        name: base64.b64encode(file.read_bytes()).decode()
        for name, file in (
            ("client-certificate-data", certificate),
            ("client-key-data", certificate.with_suffix(".key")),
        )
    }
    ca = base64.b64encode(authority.ca_file.read_bytes()).decode()
    server = {"server": "https://127.0.0.1:1", "certificate-authority-data": ca}
    config = {
        "clusters": [{"name": "kind", "cluster": server}],
        "users": [{"name": "kind", "user": entry}],
        "contexts": [{"name": "kind", "context": {"cluster": "kind", "user": "kind"}}],
        "current-context": "kind",
    }
    return Recorder(yaml.safe_dump(config))


@pytest.fixture
def cluster(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> KindCluster:
    monkeypatch.setattr("e2e.binaries.assets", lambda: Path("/nowhere"))
    monkeypatch.setattr(KindCluster, "request", lambda *_, **__: {"gitVersion": "v1.37.2"})
    monkeypatch.setattr(KindCluster, "_ready", lambda _: True)
    monkeypatch.setattr("os.getpid", lambda: 7)
    monkeypatch.delenv("K8S", raising=False)
    return KindCluster("demo", recorder)


def test_a_cluster_is_made_its_image_built_and_loaded_and_all_of_it_deleted(
    cluster: KindCluster, recorder: Recorder
) -> None:
    with cluster:
        config = cluster.directory / "kind.yaml"
        assert recorder.lines() == [
            "kind version",
            "docker info --format={{json .ServerVersion}}",
            f"kind create cluster --name=meshca-demo-7 --config={config}",
            "kind get kubeconfig --name=meshca-demo-7",
            f"docker build --file={kind.DOCKERFILE} --tag={kind.IMAGE} {kind.ROOT}",
            f"kind load docker-image {kind.IMAGE} --name=meshca-demo-7",
        ]
        assert cluster.server == "https://127.0.0.1:1"
        assert cluster.version == "1.37.2"
        assert cluster.chart_values["image.pullPolicy"] == "Never"
    assert recorder.lines()[-1] == "kind delete cluster --name=meshca-demo-7"


def test_another_version_is_another_node_image(
    cluster: KindCluster, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K8S", "1.32.13")
    with cluster:
        assert "--image=kindest/node:v1.32.13" in recorder.calls[2]


def test_the_node_writes_every_write_to_an_audit_log(cluster: KindCluster) -> None:
    with cluster:
        shared = cluster.directory / "kind"
        (node,) = yaml.safe_load((cluster.directory / "kind.yaml").read_text())["nodes"]
        assert node["extraMounts"] == [{"hostPath": str(shared), "containerPath": "/meshca"}]
        initial = yaml.safe_load(node["kubeadmConfigPatches"][0])
        assert initial["patches"] == {"directory": "/meshca/patches"}
        patch = yaml.safe_load((shared / "patches" / "kube-apiserver0+json.yaml").read_text())
        assert "--audit-log-path=/meshca/audit/audit.log" in [each["value"] for each in patch]
        assert yaml.safe_load((shared / "audit-policy.yaml").read_text())["kind"] == "Policy"
        assert cluster.audit_log.read_text() == "c0ffee\n"


def test_servers_stop_with_their_manifest_and_come_back_with_it(
    cluster: KindCluster, recorder: Recorder
) -> None:
    inside = "docker exec meshca-demo-7-control-plane"
    with cluster:
        before = len(recorder.calls)
        cluster.restart_apiserver()
        cluster.kill_etcd()
        cluster.start_etcd()
        assert recorder.lines()[before:] == [
            f"{inside} mv /etc/kubernetes/manifests/kube-apiserver.yaml /etc/kubernetes/kube-apiserver.yaml",
            f"{inside} crictl ps --quiet --name ^kube-apiserver$",
            f"{inside} crictl stop --timeout=2 c0ffee",
            f"{inside} mv /etc/kubernetes/kube-apiserver.yaml /etc/kubernetes/manifests/kube-apiserver.yaml",
            f"{inside} mv /etc/kubernetes/manifests/etcd.yaml /etc/kubernetes/etcd.yaml",
            f"{inside} crictl ps --quiet --name ^etcd$",
            f"{inside} crictl stop --timeout=0 c0ffee",
            f"{inside} mv /etc/kubernetes/etcd.yaml /etc/kubernetes/manifests/etcd.yaml",
        ]


def _without(program: str) -> Runner:
    def run(command: Sequence[str]) -> str:
        if command[0] == program:
            raise CannotRunError(f"{program} is not on the PATH")
        return "v0.30"

    return run


def _engine_down(command: Sequence[str]) -> str:
    if command[0] == "docker":
        raise HarnessError("docker info: exit 1\nCannot connect to the Docker daemon")
    return "v0.30"


@pytest.mark.parametrize(
    ("runner", "text"),
    [
        (_without("kind"), "kind is not on the PATH"),
        (_without("docker"), "docker is not on the PATH"),
        (_engine_down, "docker info: exit 1"),
        (lambda _: "null", "no engine that runs"),
    ],
    ids=["no-kind", "no-docker", "engine-down", "no-engine"],
)
def test_without_docker_or_kind_it_says_so_and_stops(runner: Runner, text: str) -> None:
    with pytest.raises(CannotRunError, match=text):
        KindCluster("demo", runner)
