"""Which cluster flavour a run uses, and which it had to leave out.

Decides by ``CLUSTER`` in the environment (controlplane, node, kind, kubeconfig); never falls back from
a flavour that was asked for by name.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from e2e.controlplane import ControlPlane
from e2e.errors import CannotRunError, HarnessError
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
        return NodeCluster(name)
    raise CannotRunError(f"{flavour}: not here yet")


def left_out() -> dict[str, str]:
    """Return the flavours that could not run in this process, with the reason of each."""
    return dict(_left_out)
