"""Fixtures of the scenarios that need a kubelet, whatever ``CLUSTER`` says for the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e import flavours
from e2e.errors import CannotRunError
from e2e.node.cluster import NodeCluster

if TYPE_CHECKING:
    from collections.abc import Iterator


def made(name: str) -> NodeCluster:
    """Return a node cluster, not yet started; skips the test where this machine cannot run one."""
    try:
        cluster = flavours.make("node", name)
    except CannotRunError as error:
        pytest.skip(str(error))
    assert isinstance(cluster, NodeCluster)
    return cluster


@pytest.fixture(scope="session")
def node() -> Iterator[NodeCluster]:
    """Return the node cluster of this run, started once."""
    with made("node") as cluster:
        yield cluster
