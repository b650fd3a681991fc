"""What scenarios of a mesh wait for, and ask of its clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fakes.engine import Cluster
    from tests.fakes.federation import Federation


def reason(cluster: Cluster, kind: str) -> tuple[str, str]:
    """Return status and reason of a condition."""
    state, found, _ = cluster.condition(kind)
    return state, found


async def until(cluster: Cluster, kind: str, state: str, why: str, seconds: float = 120) -> None:
    """Wait until a condition has this status and reason; virtual seconds."""
    await cluster.until(lambda: reason(cluster, kind) == (state, why), seconds)


async def issues(cluster: Cluster, name: str) -> None:
    """Have a leaf issued now."""
    cluster.leaf(name, renewal="Automatic")
    await cluster.until(lambda: cluster.ready(name)[0] == "Issued", 10)


def signers(found: Federation) -> list[str]:
    """Return the names of the secondary's signer Secrets."""
    return sorted(item["metadata"]["name"] for item in found.secondary.secrets("signer"))


async def follows(found: Federation, seconds: float = 900) -> None:
    """Wait until the secondary issues under the primary's active root, and its leaves have moved."""
    second = found.secondary
    await second.until(lambda: found.active(second) == found.active(found.primary), seconds)
    await second.until(lambda: reason(second, "RotationInProgress") == ("False", "Completed"), seconds)
