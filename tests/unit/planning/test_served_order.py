"""In which order cross-certificates follow the signer: most peers follow only the first."""

from __future__ import annotations

from datetime import timedelta

from meshca.pki.certificates import load_all
from meshca.planning import rotation
from meshca.planning.authority import Authority
from tests.fakes.caworld import World, bootstrapped


def _rotate(world: World, trigger: str) -> str:
    """Rotate by a trigger and return the key id of the root that was active before."""
    before = next(root for root in world.roots if root.meta.name == world.status["activeRoot"])
    world.spec = world.spec | {"rotation": {"trigger": trigger}}
    world.now += timedelta(minutes=1)
    world.settle()
    return before.facts.subject_key_id


def test_certificate_by_the_root_that_was_active_last_comes_first() -> None:
    world = bootstrapped()
    first = _rotate(world, "one")
    second = _rotate(world, "two")
    authority = world.plan().authority
    assert isinstance(authority, Authority)
    _, *crosses = load_all(authority.chain)
    assert [rotation.signed_by(item) for item in crosses] == [second, first]


def test_order_of_the_secret_does_not_matter() -> None:
    world = bootstrapped()
    first = _rotate(world, "one")
    second = _rotate(world, "two")
    for secret in list(world.root_secrets):
        world.change_secret(secret, cross=tuple(reversed(secret.cross)))
    authority = world.plan().authority
    assert isinstance(authority, Authority)
    assert [rotation.signed_by(item) for item in load_all(authority.chain)[1:]] == [second, first]
