"""What stays and what goes when a CAConfiguration is deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.fakes.retired import rotated

if TYPE_CHECKING:
    from tests.fakes.caworld import World


def deleting(**changes: Any) -> World:
    world, _ = rotated()
    for name, value in changes.items():
        setattr(world, name, value)
    world.settle()
    world.done.clear()
    return world


def test_deleted_configuration_leaves_everything() -> None:
    world = deleting()
    world.deleting = True
    assert world.plan().step is None
    assert world.plan().publishes is False


def test_configuration_is_held_only_while_its_keys_are_to_go_with_it() -> None:
    world = deleting(delete_keys=True)
    assert world.held
    world.delete_keys = False
    world.settle()
    assert not world.held
    world = deleting(delete_keys=True)
    world.delete_keys, world.deleting = False, True
    world.step()
    assert world.done == ["HoldConfiguration"]
    assert len(world.roots) == 2


def test_keys_go_with_the_configuration_when_that_was_asked_for() -> None:
    world = deleting(delete_keys=True)
    world.deleting = True
    world.clocks_differ = True
    assert world.plan().step is None
    world.clocks_differ = False
    while world.step() is not None:
        pass
    assert (world.roots, world.root_secrets, world.signer_secrets, world.held) == ([], [], [], False)
    assert world.done == [
        *["MarkPruned"] * 2,
        *["RemoveSigner"] * 2,
        *["RemoveRootSecret"] * 2,
        *["DeleteRoot", "ReleaseRoot"] * 2,
        "HoldConfiguration",
    ]
