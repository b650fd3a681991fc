"""Which cluster flavour a run uses, and which it had to leave out.

Decides by ``CLUSTER`` in the environment (controlplane, node, kind, kubeconfig); never falls back from
a flavour that was asked for by name.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from e2e import binaries, cache
from e2e.controlplane import ControlPlane
from e2e.errors import CannotRunError, HarnessError
from e2e.existing import Existing
from e2e.kind import KindCluster
from e2e.node.cluster import NodeCluster

if TYPE_CHECKING:
    from e2e.cluster import Cluster

FLAVOURS = ("controlplane", "node", "kind", "kubeconfig")

_left_out: dict[str, str] = {}


def chosen(default: str = "controlplane") -> str:
    """Return the flavour asked for by ``CLUSTER``, else ``default``; ``HarnessError`` for an unknown one."""
    wanted = os.environ.get("CLUSTER") or default
    if wanted not in FLAVOURS:
        raise HarnessError(f"CLUSTER={wanted}: choose one of {', '.join(FLAVOURS)}")
    return wanted


def make(flavour: str, name: str) -> Cluster:
    """Return a cluster of a flavour, not yet started; ``CannotRunError`` when this machine cannot."""
    try:
        return _make(flavour, name)
    except CannotRunError as error:
        _left_out[flavour] = str(error)
        raise


def _make(flavour: str, name: str) -> Cluster:
    if flavour == "controlplane":
        return ControlPlane(name)
    if flavour == "node":
        if not (binaries.version() == binaries.VERSION or os.environ.get("KUBEBUILDER_ASSETS")):
            raise CannotRunError(f"of Kubernetes {binaries.version()} only the control plane is built")
        return NodeCluster(name)
    if flavour == "kind":
        return KindCluster(name)
    if flavour == "kubeconfig":
        return Existing(name)
    raise HarnessError(f"CLUSTER={flavour}: choose one of {', '.join(FLAVOURS)}")


def best(name: str) -> Cluster:
    """Return a cluster of the flavour ``CLUSTER`` names, else of the best one this machine allows."""
    if os.environ.get("CLUSTER"):
        return make(chosen(), name)
    try:
        return make("node", name)
    except CannotRunError as error:
        cache.say(f"no node here, so a control plane only: {error}")
        return make("controlplane", name)


def left_out() -> dict[str, str]:
    """Return the flavours that could not run in this process, with the reason of each."""
    return dict(_left_out)
