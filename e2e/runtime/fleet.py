"""The replicas as a scenario sees them: who leads, what they show, when they have work no more."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import pytest

from e2e import scenario
from e2e.client import path_of
from meshca.api import names

if TYPE_CHECKING:
    from e2e.cluster import Cluster, Operator
    from e2e.installation import Installation
    from e2e.operator_process import OperatorProcesses

JSON = dict[str, Any]
TAKEOVER_SECONDS = 40.0
LEASE_SECONDS = 15.0
LOOKS_SECONDS = 4.4
"""The longest time between two looks of a standby: it sees a renewal that late, and an end of the term."""
READING_SECONDS = 15.0
"""What a new leader may take to read the world before it issues: much, for machines under load."""
SLOWNESS = 5.0
"""What a machine under load may add to a bound."""
LEASE = path_of(names.LEASE, scenario.SYSTEM, "meshca")


def processes(made: Installation) -> OperatorProcesses:
    """Return the replicas as processes, which can be frozen and have exit codes; skips for Pods."""
    if made.cluster.has_nodes:
        pytest.skip("the operator runs in Pods here")
    return cast("OperatorProcesses", made.operator)


def lease(cluster: Cluster) -> JSON:
    """Return what the Lease says now."""
    return dict(cluster.request("GET", LEASE)["spec"])


def leader(cluster: Cluster, operator: Operator, timeout: float = 30) -> str:
    """Wait until a running replica holds the Lease and return its name."""

    def held(items: list[JSON]) -> str | None:
        holder = str(items[0]["spec"].get("holderIdentity", "")) if items else ""
        return next((name for name in operator.replicas if holder.startswith(f"{name}_")), None)

    return cluster.wait_for(held, LEASE, timeout)


def successor(cluster: Cluster, before: str, timeout: float) -> JSON:
    """Wait until another process than ``before`` (an identity) holds the Lease; return what it says then."""

    def another(items: list[JSON]) -> JSON | None:
        holder = items[0]["spec"].get("holderIdentity", "") if items else ""
        return items[0]["spec"] if holder not in {"", before} else None

    return cluster.wait_for(another, LEASE, timeout)


def pass_time(cluster: Cluster, renewals: int = 2) -> None:
    """Return after the leader has renewed its Lease so often, two seconds each."""
    for _ in range(renewals):
        moment = lease(cluster)["renewTime"]
        scenario.wait_other(cluster, LEASE, lambda item, old=moment: item["spec"]["renewTime"] != old)  # type: ignore[misc]


def moment(text: str) -> datetime:
    """Read a time of the Lease."""
    return datetime.fromisoformat(text)


def metrics(operator: Operator, replica: str) -> dict[str, float]:
    """Return the samples that a replica serves, by name and labels as Prometheus reads them."""
    status, text = operator.get(replica, "/metrics")
    assert status == 200
    samples = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in samples}


def kill_leader(made: Installation) -> None:
    """End the leader without warning, bring it back as a standby, and let the other lead at once.

    A Lease lasts 15 s; that a standby waits for its end is shown elsewhere, so here it is emptied.
    """
    cluster, operator = made.cluster, made.operator
    killed = leader(cluster, operator)
    operator.kill(killed)
    holder = lease(cluster)["holderIdentity"]
    cluster.request("PATCH", LEASE, {"spec": {"holderIdentity": ""}})
    operator.restart(killed)
    successor(cluster, holder, TAKEOVER_SECONDS)
