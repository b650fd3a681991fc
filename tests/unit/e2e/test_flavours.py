"""Which flavour a run gets, and what it says about those it cannot have."""

from __future__ import annotations

from typing import Any

import pytest

from e2e import flavours
from e2e.errors import CannotRunError, HarnessError


class Made:
    def __init__(self, name: str) -> None:
        self.name = name


class Impossible:
    def __init__(self, name: str) -> None:
        raise CannotRunError(f"{name}: needs root")


@pytest.fixture(autouse=True)
def _nothing_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLUSTER", "K8S", "KUBEBUILDER_ASSETS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(flavours, "_left_out", {})
    monkeypatch.setattr(flavours, "ControlPlane", Made)


def test_the_default_is_the_callers_and_cluster_overrides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert flavours.chosen() == "controlplane"
    assert flavours.chosen("node") == "node"
    monkeypatch.setenv("CLUSTER", "kind")
    assert flavours.chosen("node") == "kind"


def test_an_unknown_flavour_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER", "minikube")
    with pytest.raises(HarnessError, match="choose one of controlplane, node, kind, kubeconfig"):
        flavours.chosen()


def test_the_best_flavour_is_a_node_where_there_can_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Node(Made):
        pass

    monkeypatch.setattr(flavours, "NodeCluster", Node)
    made: Any = flavours.best("demo")
    assert isinstance(made, Node)
    assert flavours.left_out() == {}


def test_without_a_node_the_best_is_a_control_plane_and_the_node_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flavours, "NodeCluster", Impossible)
    made: Any = flavours.best("demo")
    assert isinstance(made, Made)
    assert flavours.left_out() == {"node": "demo: needs root"}


def test_a_flavour_asked_for_by_name_is_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER", "node")
    monkeypatch.setattr(flavours, "NodeCluster", Impossible)
    with pytest.raises(CannotRunError):
        flavours.best("demo")


def test_another_version_has_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S", "1.32.13")
    monkeypatch.setattr(flavours, "NodeCluster", Made)
    with pytest.raises(CannotRunError, match="only the control plane"):
        flavours.make("node", "demo")
