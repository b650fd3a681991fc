"""What a CA may do only after it is on record, and what the record does not prove."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from meshca.pki import certificates
from meshca.planning import ca, steps
from meshca.planning.authority import Authority
from meshca.planning.configuration import plan_configuration
from tests.fakes import pki
from tests.fakes.caworld import World, bootstrapped, key_secret
from tests.fakes.planning import meta

HOUR = timedelta(hours=1)


def test_leaves_live_no_longer_than_the_caroot_has_on_record() -> None:
    world = bootstrapped()
    world.spec = world.spec | {"leaf": {"ttl": "240h", "maxTTL": "480h"}}
    world.step()
    plan = world.plan()
    assert isinstance(plan.step, steps.RaiseLeafTTL)
    assert isinstance(plan.authority, Authority)
    assert (plan.authority.leaf_ttl, plan.authority.leaf_max_ttl) == (72 * HOUR, 72 * HOUR)
    authority = world.settle().authority
    assert isinstance(authority, Authority)
    assert (authority.leaf_ttl, authority.leaf_max_ttl) == (240 * HOUR, 480 * HOUR)
    assert world.roots[0].largest_leaf_ttl == 480 * HOUR


def test_no_root_is_made_beside_a_caroot_that_cannot_be_read() -> None:
    world = World()
    world.step()
    world.step()
    assert isinstance(world.plan().step, steps.MakeRoot)
    plan = plan_configuration(replace(world.snapshot(), unreadable_roots=("default-0123456789",)))
    assert plan.step is None
    [ready] = [entry for entry in plan.status["conditions"] if entry["type"] == "Ready"]
    assert (ready["status"], ready["reason"]) == ("False", "RootKeyMissing")
    assert "CARoot 'default-0123456789' cannot be read" in ready["message"]


def foreign_root(world: World) -> ca.Root:
    """Return a CARoot that says of itself that it was activated; its key is not here."""
    certificate = pki.make_root(pki.key("ECDSA 256", "foreign"))
    facts = certificates.facts(certificate)
    return replace(
        world.roots[0],
        meta=meta("default-foreign", "", uid="f"),
        certificate=certificate,
        facts=facts,
        pem=certificates.to_pem(certificate),
        key_secret="meshca-root-default-foreign",
    )


def test_a_caroot_enters_the_bundle_only_with_its_key() -> None:
    world = bootstrapped()
    foreign = foreign_root(world)
    world.roots.append(foreign)
    assert world.plan().status["bundle"]["roots"] == [world.roots[0].facts.fingerprint]
    world.root_secrets.append(key_secret(foreign.certificate, foreign.key_secret))
    both = sorted(root.facts.fingerprint for root in world.roots)
    assert world.settle().status["bundle"]["roots"] == both
    # Once in, a missing Secret never removes it; nor does a lost status.
    world.root_secrets.clear()
    assert world.plan().status["bundle"]["roots"] == both
    world.status = {}
    assert world.plan().status["bundle"]["roots"] == both


def test_clocks_that_differ_hold_back_what_cannot_be_undone_and_nothing_else() -> None:
    world = World()
    world.step()
    world.step()
    plan = plan_configuration(replace(world.snapshot(), clocks_differ=True))
    assert plan.step is None
    assert plan.due == world.now + timedelta(minutes=1)
    said = {entry["type"]: (entry["status"], entry["reason"]) for entry in plan.status["conditions"]}
    assert said["Ready"] == ("False", "Pending")
    assert said["Degraded"] == ("True", "ClockSkew")
    world.settle()
    world.signer_secrets.clear()
    plan = plan_configuration(replace(world.snapshot(), clocks_differ=True))
    assert isinstance(plan.step, steps.MakeSigner)
