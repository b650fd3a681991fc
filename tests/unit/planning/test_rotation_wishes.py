"""Which wish makes a rotation, and what its certificates are."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest

from meshca.errors import InvalidError
from meshca.pki import certificates, chain
from tests.fakes.caworld import bootstrapped
from tests.fakes.rotating import ROTATION, authority_of, leaf_under, live, rotated

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def test_rotation_is_these_steps_in_this_order() -> None:
    world = rotated()
    assert world.done == ROTATION
    assert world.plan().step is None


CAUSES = [
    pytest.param({}, False, id="070 nothing"),
    pytest.param({"leaf": {"ttl": "2h", "maxTTL": "10h"}}, False, id="071 leaf"),
    pytest.param({"limits": {"csrMaxPerSecond": 1}}, False, id="071 limits"),
    pytest.param({"intermediate": {"ttl": "4000h"}}, False, id="071 intermediate"),
    pytest.param({"root": {"ttl": "20000h"}}, False, id="071 root"),
    pytest.param({"rotation": {"deadline": "1h"}}, False, id="071 deadline"),
    pytest.param({"rotation": {"forceWithoutCrossSigning": "x"}}, False, id="223 force alone"),
    pytest.param({"privateKey": {"algorithm": "ECDSA", "size": 384}}, True, id="072 size"),
    pytest.param({"privateKey": {"algorithm": "RSA", "size": 2048}}, True, id="072 RSA"),
    pytest.param({"privateKey": {"algorithm": "Ed25519"}}, True, id="072 Ed25519"),
    pytest.param({"rotation": {"trigger": "x"}}, True, id="086 trigger"),
]


@pytest.mark.parametrize(("change", "turns"), CAUSES)
def test_070_071_072_086_223_only_a_wish_for_another_root_makes_one(
    change: dict[str, Any], turns: bool
) -> None:
    world = bootstrapped()
    before = world.active
    world.spec = world.spec | change
    plan = world.settle()
    assert (world.active_name != before.meta.name) is turns
    assert (len(world.roots), len(world.root_secrets)) == ((2, 2) if turns else (1, 1))
    assert authority_of(plan).root == world.active.facts.fingerprint
    old = world.root(before.meta.name)
    assert (old.rotated_out_at is not None) is turns
    assert (old.certificate, old.key_secret) == (before.certificate, before.key_secret)


def test_223_force_alone_is_told_and_no_silent_nothing() -> None:
    world = bootstrapped()
    world.ask("", forceWithoutCrossSigning="now")
    world.settle()
    state, reason, message = world.condition("RotationInProgress")
    assert (state, reason) == ("False", "None")
    assert "forceWithoutCrossSigning alone does nothing" in message


def test_073_074_089_new_leaf_is_trusted_under_each_root_alone_but_not_without_the_cross_certificate() -> (
    None
):
    world = bootstrapped()
    old = world.active
    rotated(world)
    leaf, signer, *crosses = leaf_under(world)
    new = world.active
    assert len(crosses) == 1
    cross = crosses[0]
    assert certificates.authority_key_id_of(cross).hex() == old.facts.subject_key_id
    assert (cross.subject, cross.public_key()) == (new.certificate.subject, new.certificate.public_key())
    assert certificates.uris_of(cross) == new.facts.uris
    for intermediates, root in (([signer], new), ([signer, cross], old)):
        path = chain.verify(leaf, intermediates, [root.certificate], at=world.now)
        assert path[-1] == root.certificate
    with pytest.raises(InvalidError):
        chain.verify(leaf, [signer], [old.certificate], at=world.now)


def test_076_cross_certificate_is_made_although_force_permits_to_go_without() -> None:
    world = bootstrapped()
    world.ask("now", forceWithoutCrossSigning="now")
    world.settle()
    assert "CrossSign" in world.done
    assert len(leaf_under(world)) == 3


def test_077_222_new_root_that_cannot_be_made_to_work_is_left_and_taken_away() -> None:
    world = bootstrapped()
    old = world.active
    world.ask("one")
    while len(world.roots) < 2:
        world.step()
    new = world.roots[1]
    world.cross_problems = {(old.facts.fingerprint, new.facts.fingerprint): "the provider answers 500"}
    plan = world.settle()
    assert world.active_name == old.meta.name
    assert authority_of(plan).root == old.facts.fingerprint
    assert old.certificate in authority_of(plan).trusted
    assert new.certificate not in authority_of(plan).trusted
    state, reason, message = world.condition("RotationInProgress")
    assert (state, reason) == ("False", "RotationBlocked")
    assert "the provider answers 500" in message
    assert "forceWithoutCrossSigning" in message
    world.ask("")
    world.settle()
    assert (live(world), len(world.root_secrets), len(world.signer_secrets)) == ([old.meta.name], 1, 1)


def test_080_renewal_and_small_changes_keep_the_root() -> None:
    world = bootstrapped()
    before = world.active_name
    world.spec = world.spec | {"intermediate": {"ttl": "5000h"}}
    world.now += 200 * DAY
    world.settle()
    assert world.done.count("MakeSigner") == 1
    assert world.active_name == before
    assert "rotation" not in world.status


def test_090_snapshot_is_not_changed_by_judging_it() -> None:
    world = rotated()
    world.ask("two")
    before = world.snapshot()
    kept = copy.deepcopy(before.status), copy.deepcopy([root.status for root in before.roots])
    world.plan()
    assert (before.status, [root.status for root in before.roots]) == kept
