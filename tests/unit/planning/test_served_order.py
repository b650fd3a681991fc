"""In which order cross-certificates follow the signer: most peers follow only the first."""

from __future__ import annotations

from datetime import timedelta

from meshca.pki.certificates import load_all
from meshca.planning import crosses
from meshca.planning.authority import Authority
from tests.fakes.caworld import World, bootstrapped

LONG = {"intermediate": {"ttl": "20000h"}}


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
    _, *served = load_all(authority.chain)
    assert [crosses.signed_by(item) for item in served] == [second, first]


def test_order_of_the_secret_does_not_matter() -> None:
    world = bootstrapped()
    first = _rotate(world, "one")
    second = _rotate(world, "two")
    for secret in list(world.root_secrets):
        world.change_secret(secret, cross=tuple(reversed(secret.cross)))
    authority = world.plan().authority
    assert isinstance(authority, Authority)
    assert [crosses.signed_by(item) for item in load_all(authority.chain)[1:]] == [second, first]


def test_chain_without_the_roots_secret_holds_what_the_signer_was_given_as_long_as_it_is_of_use() -> None:
    world = bootstrapped(spec={"trustDomain": "example.org", "root": {"ttl": "20000h"}} | LONG)
    old = world.active
    world.now += timedelta(hours=10000)
    _rotate(world, "one")
    world.root_secrets = [item for item in world.root_secrets if item.meta.name != world.active.key_secret]
    plan = world.settle()
    assert isinstance(plan.authority, Authority)
    _, cross = load_all(plan.authority.chain)
    assert crosses.signed_by(cross) == old.facts.subject_key_id
    world.needed[old.facts.fingerprint] = ("shop/web",)
    world.now = cross.not_valid_after_utc - timedelta(minutes=1)
    assert world.settle().due == cross.not_valid_after_utc
    world.now = cross.not_valid_after_utc
    plan = world.settle()
    assert isinstance(plan.authority, Authority)
    assert len(load_all(plan.authority.chain)) == 1
    [signer] = [item for item in world.signer_secrets if item.meta.name == plan.authority.signer_secret]
    world.change_secret(signer, chain="garbage")
    plan = world.settle()
    assert isinstance(plan.authority, Authority)
    assert len(load_all(plan.authority.chain)) == 1
