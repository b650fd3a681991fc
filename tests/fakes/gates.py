"""A rotation stopped at its gate."""

from __future__ import annotations

from typing import Any

from tests.fakes.caworld import World, bootstrapped


def stopped_at_gate(**changes: Any) -> World:
    """Return a world in which a new root is published and something holds it there."""
    world = bootstrapped()
    for name, value in changes.items():
        setattr(world, name, value)
    world.ask("one")
    world.settle()
    assert len(world.active.base) == 10
    assert world.active.rotated_out_at is None
    return world


def turning(world: World) -> tuple[str, str]:
    """Return status and reason of RotationInProgress."""
    return world.condition("RotationInProgress")[:2]
