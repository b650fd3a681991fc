"""A rotation as an administrator drives it: begin, follow, prune the old root early.

Decides which objects are patched and what is waited for; the operator decides all the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from e2e import scenario
from e2e.client import path_of
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.cluster import Cluster

JSON = dict[str, Any]
SECONDS = 60.0
COMPLETED = "Completed"
CONDITION = "RotationInProgress"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rotation is: the phase, empty when none was ever begun, and percent of the leaves."""

    phase: str
    percent: int
    to: str
    reason: str

    @property
    def complete(self) -> bool:
        """Tell whether it has ended well."""
        return self.reason == COMPLETED


def progress(authority: JSON) -> Progress:
    """Read the progress from a CAConfiguration."""
    found = authority.get("status", {}).get("rotation") or {}
    reason = str(scenario.ready(authority, CONDITION).get("reason", ""))
    return Progress(found.get("phase", ""), found.get("percent", 0), found.get("to", ""), reason)


def active(cluster: Cluster, authority: str) -> str:
    """Return the name of the active CARoot."""
    return str(cluster.request("GET", scenario.path(authority))["status"]["activeRoot"])


def begin(cluster: Cluster, authority: str, **spec: Any) -> None:
    """Change fields of a CAConfiguration's spec, ``rotation.trigger`` by default."""
    wanted = spec or {"rotation": {"trigger": "now"}}
    cluster.request("PATCH", scenario.path(authority), {"spec": wanted})


def follow(
    cluster: Cluster,
    authority: str,
    old: str,
    tell: Callable[[Progress], None] = lambda _: None,
    timeout: float = SECONDS,
) -> JSON:
    """Tell each change of the progress until the rotation away from ``old`` is complete; return the CA."""
    last: list[Progress] = []

    def met(objects: list[JSON]) -> JSON | None:
        for item in objects:
            now = progress(item)
            if last[-1:] != [now]:
                last.append(now)
                tell(now)
            if now.complete and item["status"]["activeRoot"] != old:
                return item
        return None

    return cluster.wait_for(met, scenario.path(authority), timeout)


def wait_active(cluster: Cluster, authority: str, old: str, timeout: float = SECONDS) -> str:
    """Wait until another root than ``old`` is active and return its name."""
    return cluster.wait_for(
        lambda items: next(
            (
                str(item["status"]["activeRoot"])
                for item in items
                if item["status"]["activeRoot"] not in {"", old}
            ),
            None,
        ),
        scenario.path(authority),
        timeout,
    )


def certificate(cluster: Cluster, root: str) -> str:
    """Return the certificate of a CARoot, PEM."""
    return str(cluster.request("GET", path_of(names.CA_ROOT, name=root))["spec"]["certificate"])


def prune_now(cluster: Cluster, root: str, timeout: float = SECONDS) -> None:
    """Annotate a retiring CARoot, which says that it is to go at once, and wait until it is gone; seconds."""
    where = path_of(names.CA_ROOT, name=root)
    fingerprint = cluster.request("GET", where)["status"]["fingerprint"]
    annotations = {names.ANNOTATION_PRUNE_NOW: fingerprint}
    cluster.request("PATCH", where, {"metadata": {"annotations": annotations}})
    scenario.wait_gone(cluster, where, timeout)
