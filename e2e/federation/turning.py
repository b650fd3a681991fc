"""What lies between two roots of a cluster: which one is published next, and since when.

Decides nothing about meshca; lets time pass where an administrator would wait for it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from e2e import scenario
from e2e.client import path_of
from e2e.federation.world import SECONDS
from meshca.api import names
from meshca.api.v1alpha1.scalars import format_time

if TYPE_CHECKING:
    from e2e.cluster import Cluster

JSON = dict[str, Any]
DUAL_TRUST = timedelta(minutes=6)
"""A little more than a root is published that no older one vouches for."""


def published_for(cluster: Cluster, root: str, time: timedelta) -> None:
    """Let that much time pass in a cluster since it published a root."""
    past = format_time(datetime.now(UTC) - time)
    body = {"metadata": {"annotations": {names.ANNOTATION_PUBLISHED_AT: past}}}
    where = path_of(names.CA_ROOT, name=root)
    cluster.client(scenario.medic(cluster)).request("PATCH", where, body)


def published(cluster: Cluster, authority: str, known: set[str]) -> str:
    """Wait for the first root that is none of ``known`` and is published; return its name."""
    where = path_of(names.CA_ROOT)

    def found(items: list[JSON]) -> str | None:
        for item in items:
            mine = item["spec"]["caConfigurationName"] == authority
            state = item.get("status", {}).get("state")
            if mine and item["metadata"]["name"] not in known and state == "Published":
                return str(item["metadata"]["name"])
        return None

    return cluster.wait_for(found, where, SECONDS)
