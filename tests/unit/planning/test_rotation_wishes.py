"""Which wish leads to which root, from any point on the way: rotate, abort, supersede, queue, go back."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from meshca.errors import InvalidError
from meshca.pki import certificates, chain, issuance
from meshca.planning.assess import assess
from meshca.planning.authority import Authority
from meshca.planning.ca import CAPlan, ImportedPair
from tests.fakes import pki
from tests.fakes.caworld import World, bootstrapped

if TYPE_CHECKING:
    from cryptography import x509

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
AGEING = {"trustDomain": "example.org", "root": {"ttl": "20000h", "renewBefore": "4000h"}}
ROTATION = [
    "AcceptSpec",
    "RecordPhase",
    "MakeRoot",
    "RecordRoot",
    "RaiseLeafTTL",
    "RecordPhase",
    "WriteRootStatus",
    "CrossSign",
    "MakeSigner",
    "WriteRootStatus",
    "MarkPublished",
    "RecordPhase",
    "WriteRootStatus",
    "ReadBack",
    "RecordPhase",
    "MarkActive",
    "WriteRootStatus",
    "MarkRotatedOut",
    "CommitActive",
    "RecordPhase",
    "WriteRootStatus",
    "WriteRootStatus",
]
BEFORE_COMMIT = range(ROTATION.index("CommitActive") + 1)


def authority_of(plan: CAPlan) -> Authority:
    assert isinstance(plan.authority, Authority)
    return plan.authority


def live(world: World) -> list[str]:
    return [root.meta.name for root in world.roots if not root.pruned]


def rotated(world: World | None = None, trigger: str = "one") -> World:
    world = world or bootstrapped()
    world.ask(trigger)
    world.settle()
    return world


def leaf_under(world: World) -> list[Any]:
    """Return a leaf and all that is served after it, as of now."""
    authority = authority_of(world.plan())
    served = certificates.load_all(authority.chain)
    key = next(
        pki.key("ECDSA 256", f"world signer {n}")
        for n in range(100)
        if pki.key("ECDSA 256", f"world signer {n}").public_key() == served[0].public_key()
    )
    made = issuance.leaf_certificate(
        pki.key("ECDSA 256", "leaf").public_key(),
        issuer_cert=served[0],
        issuer_key=key,
        spiffe_id=pki.SPIFFE_ID,
        ttl=HOUR,
        now=world.now,
    )
    return [made, *served]


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


@pytest.mark.parametrize("count", BEFORE_COMMIT)
def test_086_102_wish_taken_back_before_the_activation_leaves_the_old_root(count: int) -> None:
    world = bootstrapped()
    old = world.active_name
    world.ask("one")
    for _ in range(count):
        world.step()
    if world.active_name != old:
        return
    marked = [root.meta.name for root in world.roots if root.activated_at and root.meta.name != old]
    world.ask("")
    plan = world.settle()
    assert world.active_name == old
    assert world.active.rotated_out_at is None
    assert authority_of(plan).root == world.active.facts.fingerprint
    assert live(world) == [old, *marked]
    assert len(world.root_secrets) == len(world.signer_secrets) == 1 + len(marked)
    if count > ROTATION.index("RecordPhase"):
        assert world.condition("RotationInProgress")[:2] == ("False", "Aborted")
        assert "phase" not in world.status["rotation"]
    world.ask("two")
    world.settle()
    assert world.active_name not in {old, *marked}


@pytest.mark.parametrize("count", BEFORE_COMMIT)
def test_087_098_106_newer_wish_supersedes_at_any_moment(count: int) -> None:
    world = bootstrapped()
    first = world.active
    world.ask("one")
    for _ in range(count):
        world.step()
    world.ask("two")
    for _ in range(60):
        assert len(live(world)) <= 3
        if world.step() is None:
            break
    world.settle()
    assert world.active.base == assess(world.snapshot()).wish.base
    leaf, signer, *crosses = leaf_under(world)
    chain.verify(leaf, [signer, *crosses], [first.certificate], at=world.now)
    chain.verify(leaf, [signer], [world.active.certificate], at=world.now)
    assert world.condition("RotationInProgress")[:2] == ("False", "Completed")
    never_used = [root for root in world.roots if root.activated_at is None]
    assert never_used == []


@pytest.mark.parametrize("count", range(len(ROTATION)))
@pytest.mark.parametrize("lost", ["configuration's status", "all status"])
def test_100_212_status_lost_at_any_moment_changes_nothing(count: int, lost: str) -> None:
    world = rotated()
    reference = (world.done.count("MakeRoot"), world.done.count("MakeSigner"), world.done.count("CrossSign"))
    world = bootstrapped()
    world.ask("one")
    for _ in range(count):
        world.step()
    world.status = {}
    if lost == "all status":
        for root in list(world.roots):
            world.change_root(root, status={})
    world.settle()
    made = (world.done.count("MakeRoot"), world.done.count("MakeSigner"), world.done.count("CrossSign"))
    assert made == reference
    assert world.active.base == assess(world.snapshot()).wish.base
    assert live(world)[-1] == world.active_name
    assert len(world.plan().bundle.roots) == 2
    states = [root.status["state"] for root in world.roots]
    assert states == ["Retiring", "Active"]


@pytest.mark.parametrize("text", ["", "two"], ids=["abort", "supersede"])
@pytest.mark.parametrize("count", BEFORE_COMMIT)
def test_103_wishes_that_change_every_few_steps_end_on_the_last(text: str, count: int) -> None:
    world = bootstrapped()
    for wish in ("one", text, "three", "", "four"):
        world.ask(wish)
        for _ in range(count):
            world.step()
        assert len(live(world)) <= 4
    for _ in range(3):
        plan = world.settle()
        if world.active.base == assess(world.snapshot()).wish.base:
            break
        # A fourth root waits until one that was in use before is pruned.
        assert world.condition("RotationInProgress")[1] == "RotationQueued"
        assert plan.due is not None
        world.now = plan.due
    world.settle()
    assert world.active.base == assess(world.snapshot()).wish.base


def test_090_snapshot_is_not_changed_by_judging_it() -> None:
    world = rotated()
    world.ask("two")
    before = world.snapshot()
    kept = copy.deepcopy(before.status), copy.deepcopy([root.status for root in before.roots])
    world.plan()
    assert (before.status, [root.status for root in before.roots]) == kept


def test_106_three_rotations_in_a_row_are_queued_and_end_on_the_last() -> None:
    world = bootstrapped()
    first = world.active_name
    for text in ("one", "two"):
        rotated(world, text)
        world.now += HOUR
    assert len(live(world)) == 3
    world.ask("three")
    plan = world.settle()
    state, reason, message = world.condition("RotationInProgress")
    assert (state, reason) == ("False", "RotationQueued")
    assert first in message
    assert len(live(world)) == 3
    oldest = world.root(first)
    assert plan.due is not None
    assert plan.due == oldest.prunable_after
    world.now = plan.due
    world.settle()
    assert first not in live(world)
    assert len(live(world)) == 3
    assert world.active.base == assess(world.snapshot()).wish.base
    leaf, signer, *crosses = leaf_under(world)
    assert len(crosses) == 2
    for root in world.roots[:2]:
        chain.verify(leaf, [signer, *crosses], [root.certificate], at=world.now)


def test_going_back_activates_the_retired_root_again_under_a_cross_certificate_by_the_present_one() -> None:
    world = bootstrapped()
    first = world.active
    rotated(world)
    second = world.active
    kept_until = world.root(first.meta.name).prunable_after
    assert kept_until is not None
    world.now += HOUR
    world.ask("")
    seen = set()
    for _ in range(60):
        if world.step() is None:
            break
        found = world.root(first.meta.name)
        seen.add(found.status["state"])
        assert first.certificate in world.plan().bundle.roots
        assert found.prunable_after is not None
        assert found.prunable_after >= kept_until
    world.settle()
    assert seen == {"Retiring", "Published", "Active"}
    assert world.active_name == first.meta.name
    assert len(world.roots) == 2
    assert "TouchSecret" in world.done
    assert world.active.rotated_out_at is None
    leaf, signer, *crosses = leaf_under(world)
    chain.verify(leaf, [signer, *crosses], [second.certificate], at=world.now)
    chain.verify(leaf, [signer], [first.certificate], at=world.now)


def test_root_taken_back_into_use_and_given_up_again_retires_with_its_time_kept() -> None:
    world = rotated()
    first = world.roots[0]
    kept_until = first.prunable_after
    world.now += HOUR
    world.ask("")
    while "TouchSecret" not in world.done:
        world.step()
    world.now += HOUR
    world.ask("one")
    world.settle()
    again = world.root(first.meta.name)
    assert world.active_name == world.roots[1].meta.name
    assert again.status["state"] == "Retiring"
    assert again.prunable_after == kept_until
    assert again.rotated_out_at == world.now
    assert not again.reclaimed


def test_root_taken_back_and_given_up_within_a_second_is_recorded_once() -> None:
    world = rotated()
    first = world.roots[0]
    world.ask("")
    while "TouchSecret" not in world.done:
        world.step()
    world.ask("one")
    plan = world.settle()
    assert plan.due == world.now + timedelta(seconds=1)
    world.now = plan.due
    world.done.clear()
    world.settle()
    assert world.done.count("MarkRotatedOut") == 1
    assert world.root(first.meta.name).prunable_after == first.prunable_after
    assert world.active_name != first.meta.name


def test_prune_that_was_decided_wins_over_a_wish_for_that_root() -> None:
    world = rotated()
    first = world.roots[0]
    assert first.prunable_after is not None
    world.now = first.prunable_after
    while not world.root(first.meta.name).pruned:
        world.step()
    world.ask("")
    assert world.condition("RotationInProgress")[:2] == ("False", "RotationQueued")
    assert "which is being removed" in world.condition("RotationInProgress")[2]
    world.settle()
    assert first.meta.name not in live(world)
    assert world.active.base == first.base
    assert world.active.certificate != first.certificate


def test_218_generated_root_near_its_end_is_rotated_by_itself_and_counted() -> None:
    world = bootstrapped(spec=AGEING)
    first = world.active
    world.now += 10000 * HOUR
    world.settle()
    assert world.active_name == first.meta.name
    due = world.plan().due
    while due is not None and due < first.facts.not_after - 4000 * HOUR:
        world.now = due
        due = world.settle().due
    assert due == first.facts.not_after - 4000 * HOUR
    world.now = due
    world.settle()
    assert world.active_name != first.meta.name
    assert (world.active.base, world.active.renewal) == (first.base, 1)
    assert len(leaf_under(world)) == 3
    assert world.active.facts.not_after > first.facts.not_after


def test_218_imported_root_near_its_end_is_only_told() -> None:
    certificate = pki.imported_root(pki.key("ECDSA 256", "imported"), not_after=pki.NOW + 3000 * HOUR)
    facts = certificates.facts(certificate)
    world = bootstrapped(
        spec={
            "provider": {"type": "Builtin", "builtin": {"rootSecretName": "mine"}},
            "intermediate": {"ttl": "1000h"},
            "root": {"renewBefore": "3001h"},
        },
        imported=ImportedPair(facts.fingerprint, facts.uris[0], ""),
        imported_root=certificate,
    )
    world.settle()
    assert "MakeRoot" not in world.done
    assert world.condition("RootExpiringSoon")[:2] == ("True", "RootExpiringSoon")
    assert world.condition("RotationInProgress")[:2] == ("False", "None")


def test_renewed_root_is_found_again_when_its_wish_comes_back() -> None:
    world = bootstrapped(spec=AGEING)
    world.now = world.active.facts.not_after - 4000 * HOUR
    world.settle()
    renewed = world.active_name
    rotated(world)
    world.now += HOUR
    world.ask("")
    world.settle()
    assert world.active_name == renewed
    assert len(world.roots) == 3


def test_imported_root_with_the_key_of_another_is_refused() -> None:
    world = bootstrapped()
    key = world.active.facts.public_key_sha256
    world.spec = world.spec | {"provider": {"type": "Builtin", "builtin": {"rootSecretName": "mine"}}}
    world.imported = ImportedPair("f" * 64, "spiffe://example.org", "", key)
    plan = world.settle()
    assert world.condition("Ready")[1] == "InvalidConfiguration"
    assert "same key" in world.condition("Ready")[2]
    assert authority_of(plan).root == world.active.facts.fingerprint
    world.imported = replace(world.imported, public_key="0" * 64)
    assert world.condition("Ready")[1] != "InvalidConfiguration"
    world.imported = replace(world.imported, key_id=world.active.facts.subject_key_id)
    assert world.condition("Ready")[1] == "InvalidConfiguration"
    assert "subjectKeyIdentifier" in world.condition("Ready")[2]


def test_071_longer_life_for_new_roots_does_not_make_the_present_one_old() -> None:
    world = bootstrapped(spec={"trustDomain": "example.org", "root": {"ttl": "10000h"}})
    world.spec = world.spec | {"root": {"ttl": "87600h"}}
    plan = world.settle()
    assert len(world.roots) == 1
    assert "rotation" not in plan.status
    assert world.condition("RootExpiringSoon")[0] == "False"


def imports(name: str, key: str, **more: Any) -> tuple[dict[str, Any], ImportedPair, x509.Certificate]:
    """Return a spec that imports a root, what is found of it, and the root."""
    certificate = pki.imported_root(pki.key("ECDSA 256", key), **more)
    facts = certificates.facts(certificate)
    provider = {"type": "Builtin", "builtin": {"rootSecretName": name}}
    pair = ImportedPair(facts.fingerprint, "".join(facts.uris), "", facts.public_key_sha256)
    return {"trustDomain": "example.org", "provider": provider}, pair, certificate


def test_imported_root_made_anew_under_the_same_key_in_the_same_secret_changes_nothing() -> None:
    spec, pair, certificate = imports("mine", "imported")
    world = bootstrapped(spec=spec, imported=pair, imported_root=certificate)
    _, world.imported, world.imported_root = imports("mine", "imported", not_after=pki.NOW + 90000 * HOUR)
    world.settle()
    assert world.done == []
    assert "same key" in world.condition("Ready")[2]


def test_wish_of_a_refused_spec_is_not_taken_for_that_of_the_accepted_one() -> None:
    spec, pair, certificate = imports("mine", "imported")
    world = bootstrapped(spec=spec, imported=pair, imported_root=certificate)
    other, world.imported, world.imported_root = imports("other", "imported 2", uris=())
    world.spec = other | {"trustDomain": "example.com"}
    world.settle()
    assert world.condition("Ready")[1] == "InvalidConfiguration"
    assert world.done == []


def test_accepted_root_with_the_key_of_another_is_not_made_while_the_spec_cannot_be_read() -> None:
    spec, pair, certificate = imports("mine", "imported")
    world = bootstrapped(spec=spec, imported=pair, imported_root=certificate)
    world.spec = spec | {"leaf": {"ttl": "1s"}}
    world.imported = replace(pair, fingerprint="f" * 64)
    world.settle()
    assert world.done == []
