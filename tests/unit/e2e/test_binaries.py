"""Which modules, flags and programs make a Kubernetes version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e import binaries
from e2e.errors import HarnessError

if TYPE_CHECKING:
    from pathlib import Path

KUBERNETES = """\
module k8s.io/kubernetes

go 1.23.0

godebug default=go1.23

require (
\tgo.etcd.io/etcd/client/v3 v3.5.16
\tk8s.io/api v0.0.0
)

replace (
\tk8s.io/api => ./staging/src/k8s.io/api
\tk8s.io/client-go => ./staging/src/k8s.io/client-go
)
"""


def test_staging_modules_are_replaced_by_those_of_the_release() -> None:
    text = binaries.go_mod("1.32.13", KUBERNETES, helm=False)
    assert "\tk8s.io/api => k8s.io/api v0.32.13\n" in text
    assert "\tk8s.io/client-go => k8s.io/client-go v0.32.13\n" in text
    assert "\tk8s.io/kubernetes v1.32.13\n" in text


def test_etcd_language_and_settings_are_those_kubernetes_asks_for() -> None:
    text = binaries.go_mod("1.32.13", KUBERNETES, helm=False)
    assert "\tgo.etcd.io/etcd/server/v3 v3.5.16\n" in text
    assert "\ngo 1.23.0\ngodebug default=go1.23\n" in text
    assert "helm" not in text


def test_a_go_mod_without_staging_modules_is_refused() -> None:
    with pytest.raises(HarnessError, match="staging"):
        binaries.go_mod("1.32.13", "module k8s.io/kubernetes\n\ngo 1.23.0\n", helm=False)


def test_the_pinned_list_is_that_of_the_default_version() -> None:
    text = (binaries.SOURCE / "go.mod").read_text()
    assert f"\tk8s.io/kubernetes v{binaries.VERSION}\n" in text
    assert f"\thelm.sh/helm/v4 v{binaries.HELM}\n" in text
    assert f"k8s.io/kubernetes v{binaries.VERSION} h1:" in (binaries.SOURCE / "go.sum").read_text()


@pytest.mark.parametrize(
    ("asked", "version"), [("", binaries.VERSION), ("1.32.13", "1.32.13"), ("v1.33.0", "1.33.0")]
)
def test_the_version_is_asked_for_by_k8s(asked: str, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S", asked)
    assert binaries.version() == version


def test_assets_are_taken_as_far_as_they_go_and_the_rest_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, built = tmp_path / "given", tmp_path / "built"
    for directory, names in ((given, ("etcd", "kube-apiserver", "kubectl")), (built, binaries.NEEDED)):
        directory.mkdir()
        for name in names:
            (directory / name).write_text("#!/bin/sh\necho Kubernetes v1.37.1\n")
            (directory / name).chmod(0o755)
    said: list[str] = []
    asked: list[str] = []

    def build(version: str) -> Path:
        asked.append(version)
        return built

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(given))
    monkeypatch.setattr(binaries, "build", build)
    monkeypatch.setattr("e2e.cache.say", said.append)
    found = binaries.assets()
    assert (found / "etcd").resolve() == given / "etcd"
    assert (found / "kube-controller-manager").resolve() == built / "kube-controller-manager"
    assert (found / "helm").resolve() == built / "helm"
    assert asked == ["1.37.1"]
    assert "no kube-controller-manager, helm;" in said[0]


def test_assets_without_an_api_server_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    with pytest.raises(HarnessError, match="no kube-apiserver"):
        binaries.assets()
