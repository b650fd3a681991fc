"""A CA with one root in use and one retired, to be pruned or kept."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.fakes.caworld import World, bootstrapped

if TYPE_CHECKING:
    from meshca.planning.ca import Root


def rotated(**spec: Any) -> tuple[World, Root]:
    """Return a world after a rotation, with the root that was rotated out."""
    world = bootstrapped()
    world.spec = world.spec | spec
    world.settle()
    world.ask("one")
    world.settle()
    world.done.clear()
    return world, world.roots[0]


def names_of(world: World) -> list[str]:
    """Return the names of the CARoots that are there, pruned or not."""
    return [root.meta.name for root in world.roots]


def ask_deletion(world: World, root: Root) -> None:
    """Delete a CARoot, which its finalizer keeps."""
    world.change_root(root, meta=replace(root.meta, deleting=True))


def message_of(world: World, root: Root) -> str:
    """Return what a CARoot says of itself."""
    conditions = world.root(root.meta.name).status["conditions"]
    return str(conditions[0]["message"])
