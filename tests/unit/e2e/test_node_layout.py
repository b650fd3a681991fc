"""The node's configuration files: what real servers cannot show when it is wrong."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from e2e.node import config, inner, layout, parts

WHERE = layout.Layout(Path("/runs/one-x1"), Path("/cache/k8s"), Path("/cache/debs"))


def test_containerd_gets_valid_toml_with_the_settings_that_runc_needs() -> None:
    found = tomllib.loads(config.containerd(WHERE))
    cri = found["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["restrict_oom_score_adj"] is True
    assert cri["sandbox_image"] == layout.PAUSE
    runc = cri["containerd"]["runtimes"]["runc"]["options"]
    assert runc == {"BinaryName": "/cache/debs/usr/sbin/runc", "SystemdCgroup": False}
    assert found["grpc"]["address"] == layout.CONTAINERD_SOCKET


def test_two_clusters_have_different_control_groups() -> None:
    other = layout.Layout(Path("/runs/two-x2"), WHERE.binaries, WHERE.debs)
    assert config.kubelet(WHERE)["cgroupRoot"] != config.kubelet(other)["cgroupRoot"]
    assert config.kubelet(WHERE)["cgroupRoot"] == f"/{WHERE.cgroup}"


def test_every_configuration_file_is_written(tmp_path: Path) -> None:
    where = layout.Layout(tmp_path, WHERE.binaries, WHERE.debs)
    config.write(where, "policy")
    assert (where.config / "audit.yaml").read_text() == "policy"
    for name in ("kubelet.yaml", "kube-proxy.yaml", "cni/10-meshca.conflist"):
        assert json.loads((where.config / name).read_text())


def test_no_server_is_anonymous_or_unverified() -> None:
    commands = parts.commands(WHERE, Path("/runs/one-x1/audit.log"))
    assert next(iter(commands)) == "containerd"
    assert "--authorization-mode=Node,RBAC" in commands["kube-apiserver"]
    assert "--enable-admission-plugins=NodeRestriction" in commands["kube-apiserver"]
    assert any(part.startswith("--kubelet-certificate-authority=") for part in commands["kube-apiserver"])
    assert config.kubelet(WHERE)["authentication"]["anonymous"] == {"enabled": False}
    assert not [part for command in commands.values() for part in command if "insecure" in part]


def test_only_the_pause_image_names_a_registry_host_of_its_own() -> None:
    assert layout.PAUSE.startswith("localhost/")
    assert not layout.PAUSE.endswith(":latest")


def test_an_order_for_an_unknown_program_is_answered_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Here it is not the first process, and must not collect the children of others.
    monkeypatch.setattr(inner.Supervisor, "reap", lambda _: None)
    supervisor = inner.Supervisor()
    log = str(tmp_path / "log")
    order = {"start": "ghost", "command": ["/nonexistent/ghost"], "env": {}, "log": log}
    assert "ghost" in supervisor.obey(order)["error"]
    assert supervisor.obey({"status": True}) == {"running": [], "ended": {}}


@pytest.mark.parametrize("name", ["/var/lib", "/var/log"])
def test_what_servers_write_lands_in_the_run_directory(name: str) -> None:
    assert WHERE.stand_ins[name].is_relative_to(WHERE.directory)
