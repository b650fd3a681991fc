"""Is this replica alive, and is it fit to serve.

Decides on a snapshot of facts, each of which another part keeps; never asks the network, never waits.
*Healthy* means that a restart would not help: an event loop that hangs or a watch that went silent
without an error is what only a restart repairs. *Ready* means that this replica does, or at once could
do, its work.

Ages are in seconds; None says that the part does not run here at present.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Facts:
    """What the parts of a replica say about themselves at one moment."""

    leading: bool = False
    stopping: bool = False
    synced: bool = False
    """Whether every kind was listed once since this replica began to lead."""
    engine_age: float | None = None
    """Since the engine's event loop last gave a sign of life."""
    watch_age: float | None = None
    """Since the most silent watch last brought anything, bookmarks included."""
    lease_age: float | None = None
    """Since the Lease was last read or renewed."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How old a fact may be, in seconds."""

    engine: float = 15.0
    """A loop of a healthy process is never away for a second; a starved node may need some."""
    watch: float = 420.0
    """Watches are renewed every five minutes at the latest; this adds a list and two retries."""
    lease: float = 45.0
    """Three times the life of the Lease: then the API server is out of reach."""


def unhealthy(facts: Facts, bounds: Bounds = Bounds()) -> list[str]:
    """Name what a restart would repair; empty when healthy."""
    problems = []
    if _older(facts.engine_age, bounds.engine):
        problems.append(f"the engine's event loop has not run for {facts.engine_age:.0f} s")
    if facts.leading and not facts.stopping and _older(facts.watch_age, bounds.watch):
        problems.append(f"a watch has been silent for {facts.watch_age:.0f} s")
    return problems


def unready(facts: Facts, bounds: Bounds = Bounds()) -> list[str]:
    """Name why this replica is not fit to serve; empty when ready. A standby is ready."""
    problems = unhealthy(facts, bounds)
    if facts.stopping:
        problems.append("stopping")
    if facts.lease_age is None:
        problems.append("the Lease has not been read yet")
    elif _older(facts.lease_age, bounds.lease):
        problems.append(f"the Lease could not be read for {facts.lease_age:.0f} s")
    if facts.leading and not facts.synced:
        problems.append("the first listing is not complete")
    return problems


def _older(age: float | None, bound: float) -> bool:
    return age is not None and age > bound
