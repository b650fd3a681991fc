"""What a secondary does next: rows of the planner, with the primary as it is and as it should not be."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from meshca.api import names
from meshca.api.v1alpha1.conditions import Reason
from meshca.pki import certificates, chain
from meshca.planning.authority import Authority
from meshca.planning.ca import Census, Publication
from meshca.planning.primary import FreshToken
from meshca.planning.situation import Problem
from tests.fakes import pki
from tests.fakes.caworld import World, bootstrapped
from tests.fakes.secondworld import JOIN, Secondary, following, spec_of

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
AWAY = Problem(Reason.PRIMARY_UNREACHABLE, "the primary cannot be reached: gone")
REFUSES = Problem(Reason.PRIMARY_REFUSES, "the primary refuses: no")


def reason(world: Secondary, kind: str) -> tuple[str, str]:
    state, found, _ = world.condition(kind)
    return state, found


def rotate(world: Secondary, trigger: str = "one") -> None:
    """Have the primary rotate up to the end."""
    world.primary.ask(trigger)
    world.primary.settle()


def another_primary() -> World:
    return bootstrapped(uid="99999999-2222-4333-8444-555555555555", numbers=itertools.count(200))


def test_044_order_of_a_start() -> None:
    world = Secondary()
    world.look()
    world.settle()
    assert world.done == ["SettleTrustDomain", "AcceptSpec", "RecordMirror", "RaiseLeafTTL", "RequestSigner"]
    assert world.condition("Ready") == (
        "False",
        "Pending",
        "the primary has yet to sign this cluster's signer",
    )
    world.done.clear()
    world.sign()
    world.look()
    plan = world.settle()
    assert world.done == ["AdoptSigner", "ReadBack", "MarkActive", "CommitActive", "WriteRootStatus"]
    assert reason(world, "Ready") == ("True", "Initialised")
    assert plan.status["trustDomain"] == "example.org"
    assert isinstance(plan.authority, Authority)
    root = world.primary.active.certificate
    chain.verify(plan.authority.signer, [], [root], at=world.now)
    assert plan.status["federation"] == {
        "configurationID": world.primary.uid,
        "sequence": world.primary.status["bundle"]["sequence"],
        "activeRoot": certificates.fingerprint(root),
        "request": names.intermediate("west", plan.authority.signer_key_id),
    }


def test_046_a_secondary_waits_for_its_primary_and_goes_on_by_itself() -> None:
    world = Secondary()
    for told, said in (
        (None, "waits for the primary"),
        (AWAY, "waits for the primary: the primary cannot be reached: gone"),
    ):
        if told is not None:
            world.look(told)
        world.settle()
        assert world.done == []
        assert world.condition("Ready") == ("False", "Pending", said)
    assert reason(world, "Reachable") == ("False", "PrimaryUnreachable")
    assert world.plan().primary is not None
    world.follow()
    assert reason(world, "Ready") == ("True", "Initialised")
    assert world.condition("Reachable") == ("True", "Connected", "the primary answers")


def test_the_primary_is_not_ready_yet() -> None:
    world = Secondary()
    world.look(facts=None, waits="the primary's CA is not ready yet")
    world.settle()
    assert world.condition("Ready")[2] == "waits for the primary: the primary's CA is not ready yet"
    world.look(facts=replace(world.facts(), active_root=""))
    world.settle()
    assert world.condition("Ready")[2] == "waits for the primary: it has no active root"
    assert world.requested == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"digest": "b" * 64}, "ask for a new invitation", id="another digest"),
        pytest.param(
            {"trust_domain": "other.org"}, "is not of trust domain 'other.org'", id="a root's domain"
        ),
    ],
)
def test_a_first_contact_that_is_not_the_invited_primary_changes_nothing(
    changes: dict[str, Any], said: str
) -> None:
    world = Secondary()
    world.look(facts=replace(world.facts(), **changes))
    world.settle()
    assert world.done == []
    assert reason(world, "Degraded") == ("True", "PrimaryMismatch")
    assert said in world.condition("Degraded")[2]
    assert said in world.condition("Ready")[2]
    wish = world.plan().primary
    assert wish is not None
    assert (wish.signer, wish.report) == (None, None)
    world.follow()
    assert reason(world, "Degraded") == ("False", "AsExpected")


def test_another_trust_domain_than_the_spec_says() -> None:
    world = Secondary(spec=spec_of(bootstrapped(), trustDomain="mine.org"))
    world.look()
    world.settle()
    assert world.done == []
    assert reason(world, "Degraded") == ("True", "PrimaryMismatch")
    assert (
        "the primary's trust domain is 'example.org', this cluster's is 'mine.org'"
        in world.condition("Degraded")[2]
    )


def test_121_nothing_is_left_to_do_when_there_is_no_news() -> None:
    world = following()
    before = world.status
    world.look()
    plan = world.settle()
    assert (world.done, plan.status) == ([], before)
    # A start: the link has told nothing yet, and places were not looked at.
    world.view = None
    world.publication = Publication()
    plan = world.settle()
    assert (world.done, plan.status) == ([], before)


def test_080_a_new_key_is_a_new_signer_and_a_minor_change_is_none() -> None:
    world = following()
    signer, root = world.signer_secrets[0].meta.name, world.active_name
    world.spec = world.spec | {"leaf": {"ttl": "2h"}}
    world.generation += 1
    world.follow()
    assert [item.meta.name for item in world.signer_secrets] == [signer]
    world.spec = world.spec | {"privateKey": {"algorithm": "ECDSA", "size": 384}}
    world.generation += 1
    world.pass_time(MINUTE)
    world.follow()
    assert world.active_name == root
    (found,) = world.signer_secrets
    assert found.facts is not None
    assert str(found.facts.key_spec) == "ECDSA 384"


def test_114_a_renewal_in_the_primary_changes_nothing_here() -> None:
    world = following()
    before = world.status
    world.pass_time(25 * 365 * pki.DAY / 50)
    signers = {item.meta.name for item in world.primary.signer_secrets}
    world.primary.now += 200 * pki.DAY
    world.primary.settle()
    assert {item.meta.name for item in world.primary.signer_secrets} != signers
    world.now -= 25 * 365 * pki.DAY / 50
    world.look()
    plan = world.settle()
    assert (world.done, plan.status) == ([], before)


def test_120_the_primary_rotates() -> None:
    world = following()
    first = world.active_name
    rotate(world)
    world.follow()
    assert world.active_name != first
    assert world.active.facts.fingerprint == world.primary.active.facts.fingerprint
    assert world.root(first).status["state"] == "Retiring"
    plan = world.plan()
    assert isinstance(plan.authority, Authority)
    # A peer that knows only the old root follows the cross-certificate.
    signer, *crosses = certificates.load_all(plan.authority.chain)
    assert len(crosses) == 1
    chain.verify(signer, crosses, [world.root(first).certificate], at=world.now)
    assert reason(world, "RotationInProgress") == ("False", "Completed")
    assert world.condition("RotationInProgress")[2].endswith("every leaf has moved")


def test_a_root_that_is_only_published_is_trusted_and_not_used() -> None:
    world = following()
    first = world.active_name
    world.primary.ask("one")
    while "MarkPublished" not in world.primary.done:
        world.primary.step()
    world.primary.publication = replace(world.primary.publication, complete=False)
    world.primary.status = world.primary.plan().status
    world.follow()
    assert len(world.plan().bundle.roots) == 2
    assert world.active_name == first
    assert world.requested == []
    assert reason(world, "RotationInProgress") == ("False", "None")
    report = world.plan().primary
    assert report is not None
    assert report.report is not None
    assert set(report.report.roots) == set(world.primary.status["bundle"]["roots"])


def test_123_211_a_primary_that_rotates_and_refuses_to_sign_is_trusted_and_not_followed() -> None:
    world = following()
    first = world.active_name
    rotate(world)
    world.look()
    world.settle()
    world.answer("Denied", "no FederatedCluster is registered")
    world.look()
    plan = world.settle()
    assert world.active_name == first
    assert len(plan.bundle.roots) == 2
    assert isinstance(plan.authority, Authority)
    assert reason(world, "RotationInProgress") == ("True", "Prepare")
    assert "no FederatedCluster is registered" in world.condition("RotationInProgress")[2]
    assert reason(world, "Degraded") == ("True", "NotRegistered")
    assert reason(world, "Ready") == ("True", "Initialised")
    # A week later nothing has changed, and no second key was made.
    world.pass_time(7 * pki.DAY)
    world.look()
    world.settle()
    assert (world.active_name, world.made) == (first, 2)
    world.sign()
    world.look()
    world.settle()
    assert world.active_name != first
    assert reason(world, "Degraded") == ("False", "AsExpected")


@pytest.mark.parametrize("away", [AWAY, REFUSES], ids=["unreachable", "refuses"])
def test_210_renewal_while_the_primary_is_away(away: Problem) -> None:
    world = following()
    signer = world.signer_secrets[0]
    world.pass_time(60 * pki.DAY)
    world.look(away)
    plan = world.settle()
    assert world.done == []
    assert world.signer_secrets == [signer]
    assert isinstance(plan.authority, Authority)
    assert plan.authority.signer == signer.certificate
    assert reason(world, "Reachable") == ("False", away.reason)
    assert reason(world, "Ready") == ("True", "Initialised")
    world.follow()
    assert [item.meta.name for item in world.signer_secrets] != [signer.meta.name]
    assert reason(world, "Reachable") == ("True", "Connected")


def test_210_renewal_that_is_cut_off_in_flight_keeps_both_keys() -> None:
    world = following()
    signer = world.signer_secrets[0]
    world.pass_time(60 * pki.DAY)
    world.look()
    world.settle()
    assert world.done == ["RequestSigner"]
    world.look(AWAY)
    world.pass_time(10 * pki.DAY)
    world.settle()
    assert (world.signer_secrets, len(world.requested)) == ([signer], 1)
    world.sign()
    world.look()
    world.settle()
    assert world.requested == []
    assert world.signer_secrets[0] != signer


@pytest.mark.parametrize(
    ("answer", "after", "made"),
    [
        ("PolicyGap", timedelta(seconds=44), 1),
        ("PolicyGap", timedelta(seconds=45), 2),
        ("InvalidRequest", 9 * MINUTE, 1),
        ("InvalidRequest", 10 * MINUTE, 2),
        ("Denied", 100 * pki.DAY, 1),
        ("Pending", 100 * pki.DAY, 1),
        ("SignerNotReady", 100 * pki.DAY, 1),
    ],
)
def test_when_a_request_is_made_anew(answer: str, after: timedelta, made: int) -> None:
    world = Secondary()
    world.look()
    world.settle()
    world.answer(answer)
    world.look()
    plan = world.settle()
    assert world.made == 1
    if made == 2:
        assert plan.due == world.now + after
    world.pass_time(after)
    world.look()
    world.settle()
    assert world.made == made


def test_a_signer_under_a_root_that_is_not_active_any_more_is_asked_for_anew() -> None:
    world = following()
    rotate(world)
    world.look()
    world.settle()
    old = next(root for root in world.primary.roots if root is not world.primary.active)
    world.sign(root=old)
    world.look()
    world.settle()
    assert world.made == 2
    assert reason(world, "Degraded") == ("False", "AsExpected")
    world.pass_time(MINUTE)
    world.look()
    world.settle()
    assert world.made == 3


def test_126_a_signer_that_does_not_fit_is_refused_and_told() -> None:
    world = following()
    signer = world.signer_secrets[0]
    world.pass_time(60 * pki.DAY)
    world.look()
    world.settle()
    world.sign(ttl=3 * HOUR)
    world.look()
    world.settle()
    assert world.signer_secrets == [signer]
    assert world.condition("Degraded") == (
        "True",
        "PrimaryMismatch",
        "the signer that the primary made is refused: it ends before the signer in use",
    )


def test_i10_a_root_is_used_only_when_the_primary_says_so_at_that_moment() -> None:
    world = following()
    first = world.active_name
    rotate(world)
    world.look()
    world.settle()
    world.sign()
    # The answer arrives, and with it the line is cut.
    world.look()
    world.look(AWAY)
    world.settle()
    assert world.active_name == first
    assert "waits for the primary" in world.condition("RotationInProgress")[2]
    # Its signer is there, so nothing but the primary's word is missing.
    world.look(facts=replace(world.facts(), active_root=""))
    world.settle()
    assert world.active_name == first
    world.look()
    world.settle()
    assert world.active_name != first


def test_i10_a_root_is_used_only_when_every_place_was_read_back() -> None:
    world = Secondary()
    world.publication = Publication(total=2, current=1, behind=("shop",), complete=True)
    world.look()
    world.settle()
    world.sign()
    world.look()
    plan = world.settle()
    assert world.status.get("activeRoot") is None
    assert world.condition("Ready")[2] == "the primary's roots are being published"
    assert plan.due is not None
    assert plan.due <= world.now + 10 * MINUTE
    world.pass_time(10 * MINUTE)
    world.settle()
    assert reason(world, "Ready") == ("True", "Initialised")


def test_a_restored_primary_changes_nothing_until_it_is_confirmed() -> None:
    world = following()
    rotate(world)
    world.follow()
    active, roots = world.active_name, set(world.plan().bundle.fingerprints)
    sequence = world.primary.status["bundle"]["sequence"]
    old = next(root for root in world.primary.roots if root is not world.primary.active)
    facts = world.facts()
    back = replace(
        facts,
        sequence=sequence - 5,
        active_root=old.facts.fingerprint,
        roots=tuple(
            replace(item, state="Active") for item in facts.roots if item.fingerprint != facts.active_root
        ),
    )
    world.look(facts=back)
    world.done.clear()
    world.settle()
    assert reason(world, "Degraded") == ("True", "PrimaryWentBack")
    assert f'meshca.dev/accept-sequence: "{sequence - 5}"' in world.condition("Degraded")[2]
    assert (world.done, world.active_name) == ([], active)
    assert world.status["federation"]["sequence"] == sequence
    world.accept_sequence = str(sequence - 4)
    world.settle()
    assert world.active_name == active
    world.accept_sequence = str(sequence - 5)
    world.settle()
    world.pass_time(6 * MINUTE)
    world.settle()
    assert world.status["federation"]["sequence"] == sequence - 5
    assert reason(world, "Degraded") == ("False", "AsExpected")
    # It goes back to the root that is active there, and drops none that its own leaves may need.
    assert world.active.facts.fingerprint == old.facts.fingerprint
    assert set(world.plan().bundle.fingerprints) == roots


def test_a_replaced_primary_changes_nothing_until_it_is_invited() -> None:
    world = following()
    active = world.active_name
    world.primary = another_primary()
    world.look()
    world.settle()
    assert reason(world, "Degraded") == ("True", "PrimaryMismatch")
    assert "the primary was replaced" in world.condition("Degraded")[2]
    assert (world.done, world.active_name) == ([], active)
    assert world.plan().bundle.fingerprints == (world.active.facts.fingerprint,)
    world.spec = spec_of(world.primary)
    world.generation += 1
    world.follow()
    # Without cross-certificates the new root is trusted for five minutes before it is used.
    assert world.active_name == active
    world.pass_time(5 * MINUTE)
    world.follow()
    assert world.active.facts.fingerprint == world.primary.active.facts.fingerprint
    assert active in {root.meta.name for root in world.roots}


def test_the_same_roots_under_another_uid_are_no_other_primary() -> None:
    world = following()
    world.primary.uid = "99999999-2222-4333-8444-555555555555"
    world.follow()
    assert reason(world, "Degraded") == ("False", "AsExpected")
    assert world.status["federation"]["configurationID"] == world.primary.uid


def test_a_secondary_that_was_away_for_two_rotations_follows_at_once() -> None:
    world = following()
    first = world.active_name
    rotate(world, "one")
    world.primary.now += 4 * pki.DAY
    world.primary.settle()
    rotate(world, "two")
    world.primary.now += 4 * pki.DAY
    world.primary.settle()
    world.now = world.primary.now
    assert len(world.facts().roots) == 1
    world.follow()
    assert world.active_name == first
    world.pass_time(5 * MINUTE)
    world.follow()
    assert world.active.facts.fingerprint == world.primary.active.facts.fingerprint
    # The root that the primary has no more stays until no leaf of this cluster can need it.
    assert world.root(first).status["state"] == "Retiring"
    world.pass_time(72 * HOUR + 10 * MINUTE)
    world.follow()
    assert first not in {root.meta.name for root in world.roots}


@pytest.mark.parametrize("told", ["away", "listed", "unknown"])
def test_a_mirrored_root_stays_while_the_primary_does_not_say_that_it_is_gone(told: str) -> None:
    world = following()
    first = world.active_name
    rotate(world)
    world.follow()
    world.pass_time(100 * pki.DAY)
    if told == "listed":
        world.look()
    elif told == "away":
        world.look(AWAY)
    else:
        world.view = None
    world.settle()
    assert world.root(first).status["state"] == "Retiring"
    assert "to be removed" not in world.root(first).status["conditions"][0]["message"]


def test_a_mirrored_root_that_was_never_used_goes_with_the_primarys_word() -> None:
    world = following()
    world.primary.ask("one")
    while "MarkPublished" not in world.primary.done:
        world.primary.step()
    world.primary.publication = replace(world.primary.publication, complete=False)
    world.primary.status = world.primary.plan().status
    world.follow()
    assert len(world.roots) == 2
    world.primary.ask("")
    world.primary.settle()
    world.follow()
    assert [root.meta.name for root in world.roots] == [world.active_name]


def test_a_mirrored_root_that_leaves_need_stays_although_the_primary_has_it_no_more() -> None:
    world = following()
    first = world.active_name
    needed = world.root(first).facts.fingerprint
    rotate(world)
    world.follow()
    world.needed = {needed: ("shop/web",)}
    world.primary.now += 100 * pki.DAY
    world.primary.settle()
    world.pass_time(100 * pki.DAY)
    world.follow()
    assert world.root(first).status["state"] == "Retiring"
    assert "needed by shop/web" in world.root(first).status["conditions"][0]["message"]
    world.needed = {}
    world.follow()
    assert first not in {root.meta.name for root in world.roots}


@pytest.mark.parametrize("how", ["deleting", "prune-now"])
def test_a_mirrored_root_that_the_primary_has_is_not_removed_here(how: str) -> None:
    world = following()
    first = world.active_name
    rotate(world)
    world.follow()
    root = world.root(first)
    if how == "deleting":
        world.change_root(root, meta=replace(root.meta, deleting=True))
    else:
        world.change_root(root, prune_now=root.facts.fingerprint)
    world.follow()
    assert "prune it there first" in world.root(first).status["conditions"][0]["message"]


def test_047_a_former_primary_becomes_a_secondary() -> None:
    other = another_primary()
    former = bootstrapped()
    world = Secondary(primary=other, spec=former.spec, uid=former.uid)
    world.status, world.accepted = former.status, former.accepted
    world.roots, world.root_secrets = former.roots, former.root_secrets
    world.signer_secrets = former.signer_secrets
    first = world.active_name
    world.spec = spec_of(other)
    world.generation += 1
    # Before it has met its new primary it goes on as it is, renewals included.
    world.pass_time(200 * pki.DAY)
    world.settle()
    assert "MakeSigner" in world.done
    assert reason(world, "Ready") == ("True", "Initialised")
    world.follow()
    assert world.active_name == first
    assert len(world.plan().bundle.roots) == 2
    world.pass_time(5 * MINUTE)
    world.follow()
    assert world.active.facts.fingerprint == other.active.facts.fingerprint
    assert world.status["trustDomain"] == "example.org"
    assert world.root(first).status["state"] == "Retiring"
    assert world.root_secrets, "its key stays as long as its root"
    world.pass_time(72 * HOUR + 10 * MINUTE)
    world.follow()
    assert [root.meta.name for root in world.roots] == [world.active_name]
    assert world.root_secrets == []


def test_a_root_of_its_own_that_was_never_used_is_discarded_by_a_former_primary() -> None:
    former = bootstrapped()
    former.ask("one")
    while "RecordRoot" not in former.done:
        former.step()
    other = another_primary()
    world = Secondary(primary=other, spec=spec_of(other), uid=former.uid)
    world.status, world.accepted = former.status, former.accepted
    world.roots, world.root_secrets = former.roots, former.root_secrets
    world.signer_secrets = former.signer_secrets
    world.follow()
    assert len([root for root in world.roots if not root.mirrored]) == 1


def test_a_secondary_is_promoted() -> None:
    world = following()
    first = world.active_name
    world.look(AWAY)
    world.settle()
    world.spec = {"rotation": {"trigger": "take over"}, "provider": {"type": "Builtin"}}
    world.generation += 1
    world.settle()
    assert reason(world, "Ready") == ("False", "RootKeyMissing")
    assert "rotate to a root of this cluster" in world.condition("Ready")[2]
    assert isinstance(world.plan().authority, Authority)
    assert reason(world, "RotationInProgress") == ("False", "RotationBlocked")
    assert world.plan().primary is None
    assert "federation" not in world.status
    assert "Reachable" not in {item["type"] for item in world.status["conditions"]}
    both = {"trigger": "take over", "forceWithoutCrossSigning": "take over"}
    world.spec = {"rotation": both, "provider": {"type": "Builtin"}}
    world.generation += 1
    world.settle()
    world.now += 5 * MINUTE
    world.settle()
    assert world.active.source == "Generated"
    assert world.root(first).status["state"] == "Retiring"
    assert len(world.plan().bundle.roots) == 2
    world.now += 72 * HOUR + 10 * MINUTE
    world.settle()
    assert [root.meta.name for root in world.roots] == [world.active_name]


def test_a_promoted_cluster_keeps_what_it_only_mirrored_until_a_person_decides() -> None:
    world = following()
    world.primary.ask("one")
    while "MarkPublished" not in world.primary.done:
        world.primary.step()
    world.primary.publication = replace(world.primary.publication, complete=False)
    world.primary.status = world.primary.plan().status
    world.follow()
    unused = next(root.meta.name for root in world.roots if root.activated_at is None)
    world.spec = {}
    world.generation += 1
    world.now += 100 * pki.DAY
    world.settle()
    root = world.root(unused)
    assert not root.pruned
    world.change_root(root, meta=replace(root.meta, deleting=True))
    world.settle()
    assert unused not in {item.meta.name for item in world.roots}


def test_what_was_asked_for_is_dropped_when_nobody_wants_it_any_more() -> None:
    world = following()
    world.pass_time(60 * pki.DAY)
    world.look()
    world.settle()
    assert len(world.requested) == 1
    # Another request, as two leaders may leave it.
    world.requested.append(replace(world.requested[0], meta=replace(world.requested[0].meta, name="other")))
    world.settle()
    assert len(world.requested) == 1
    world.requested = [replace(world.requested[0], problem="entry 'tls.key' is missing")]
    world.look()
    plan = world.plan()
    assert plan.primary is not None
    assert plan.primary.signer is None
    world.settle()
    assert (world.made, len(world.requested)) == (3, 1)
    world.spec = {}
    world.generation += 1
    world.settle()
    assert world.requested == []


def test_what_was_asked_for_is_dropped_when_a_signer_is_there() -> None:
    world = following()
    world.pass_time(60 * pki.DAY)
    world.look()
    world.settle()
    asked = world.requested[0]
    world.sign()
    world.look()
    world.settle()
    world.requested.append(asked)
    world.settle()
    assert world.requested == []


def test_a_fresh_token_is_kept_only_for_the_secret_that_it_was_made_for() -> None:
    world = following()
    world.look(token=FreshToken("fresh", JOIN.token_digest))
    world.settle()
    assert world.done == ["RenewJoin"]
    assert world.join is not None
    assert world.join.token == "fresh"
    assert str(FreshToken("fresh", "x")) == "FreshToken"
    assert "fresh" not in repr(world.view)


def test_a_join_secret_that_is_missing() -> None:
    world = following()
    world.join, world.join_problem = None, "Secret 'join' is not in the operator's namespace"
    plan = world.settle()
    assert reason(world, "Reachable") == ("False", "JoinSecretInvalid")
    assert reason(world, "Ready") == ("True", "Initialised")
    assert plan.primary is None
    fresh = Secondary(join=None, join_problem="Secret 'join' is missing")
    fresh.settle()
    assert fresh.condition("Ready")[2] == "waits for the primary: Secret 'join' is missing"


@pytest.mark.parametrize(
    ("told", "why", "said"),
    [
        ({"registered": False}, "NotRegistered", "no FederatedCluster 'west'"),
        ({"refusal": "the primary refuses this cluster's request: no"}, "NotRegistered", "refuses this"),
        ({"rival": True}, "ClusterNameConflict", "another cluster reports to the primary as 'west'"),
    ],
)
def test_what_the_primary_makes_of_this_cluster_is_told(told: dict[str, Any], why: str, said: str) -> None:
    world = following()
    world.told = told
    world.look()
    world.settle()
    assert reason(world, "Degraded") == ("True", why)
    assert said in world.condition("Degraded")[2]
    assert reason(world, "Ready") == ("True", "Initialised")
    before = world.status
    # What is known stays when a new leader has not heard anything yet.
    world.view = None
    assert world.settle().status == before
    world.told = {}
    world.look()
    world.settle()
    assert reason(world, "Degraded") == ("False", "AsExpected")


def test_nothing_is_asked_for_under_a_name_that_another_cluster_has() -> None:
    world = Secondary(told={"rival": True})
    world.look()
    world.settle()
    assert world.requested == []
    assert "another cluster reports" in world.condition("Ready")[2]
    world.told = {}
    world.look()
    world.settle()
    world.look(rival=True)
    wish = world.plan().primary
    assert wish is not None
    assert wish.signer is None


def test_the_report() -> None:
    world = following()
    root = world.active.facts
    wish = world.plan().primary
    assert wish is not None
    assert wish.report is not None
    assert (wish.reporter, wish.configuration, wish.cluster) == (world.uid, "default", "west")
    assert wish.report.roots == (root.fingerprint,)
    assert wish.report.active_root == root.fingerprint
    assert wish.report.digest == world.primary.status["bundle"]["digest"]
    assert wish.report.needs == ()
    signer = world.signer_secrets[0].facts
    assert signer is not None
    assert wish.report.signer_not_after == signer.not_after


def test_the_report_says_which_roots_are_needed_and_until_when() -> None:
    world = following()
    first = world.root(world.active_name)
    rotate(world)
    world.follow()
    until = world.root(first.meta.name).prunable_after
    assert until is not None
    name = first.facts.fingerprint
    late = until + HOUR
    for census, now, wanted in (
        (Census(), world.now, (0, until)),
        (Census(by_root={name: 2}, ends={name: late}), world.now, (2, late)),
        (Census(by_root={name: 2}, ends={name: late}), late, (2, late)),
        (Census(), until, None),
    ):
        world.census, world.now = census, now
        wish = world.plan().primary
        assert wish is not None
        assert wish.report is not None
        assert [(need.leaves, need.last_not_after) for need in wish.report.needs] == (
            [wanted] if wanted else []
        )


def test_a_report_says_what_is_known_while_places_and_leaves_are_read() -> None:
    world = following()
    first = world.root(world.active_name)
    rotate(world)
    world.follow()
    before = world.plan().primary
    assert before is not None
    assert before.report is not None
    until = world.root(first.meta.name).prunable_after
    assert until is not None
    world.now = until
    world.told = {"reported": before.report}
    world.look()
    world.publication, world.census = Publication(), Census(unread=3)
    wish = world.plan().primary
    assert wish is not None
    assert wish.report == before.report
    # Nobody has reported before: then not until it is known.
    world.told = {}
    world.look()
    wish = world.plan().primary
    assert wish is not None
    assert wish.report is None


def test_a_place_that_refuses_holds_up_the_report_for_ten_minutes() -> None:
    world = following()
    world.publication = replace(world.publication, behind=("shop",))
    wish = world.plan().primary
    assert wish is not None
    assert wish.report is None
    world.pass_time(10 * MINUTE)
    wish = world.plan().primary
    assert wish is not None
    assert wish.report is not None


def test_a_leaf_lives_a_third_of_the_signer_at_most() -> None:
    world = following(told={"intermediate_ttl": 30 * HOUR})
    plan = world.plan()
    assert isinstance(plan.authority, Authority)
    assert (plan.authority.leaf_ttl, plan.authority.leaf_max_ttl) == (10 * HOUR, 10 * HOUR)
    assert plan.status["federation"]["intermediateTTL"] == "30h"
    world.view = None
    plan = world.plan()
    assert isinstance(plan.authority, Authority)
    assert plan.authority.leaf_ttl == 10 * HOUR
    world.told = {"intermediate_ttl": timedelta(seconds=1)}
    world.look()
    plan = world.plan()
    assert isinstance(plan.authority, Authority)
    assert plan.authority.leaf_ttl == HOUR
    # It is renewed in time, whatever the primary says of the next one.
    assert plan.due is not None
    assert plan.due <= plan.authority.signer_not_after - HOUR / 2


def test_a_lost_status_is_found_again() -> None:
    world = following()
    before = world.status
    world.view, world.status = None, {}
    world.settle()
    assert world.status["activeRoot"] == before["activeRoot"]
    assert world.status["bundle"]["roots"] == before["bundle"]["roots"]
    assert reason(world, "Ready") == ("True", "Initialised")
    # Mirrored roots stand in for the pin of the first contact.
    rotate(world)
    world.spec = spec_of(world.primary)
    world.follow()
    assert world.active.facts.fingerprint == world.primary.active.facts.fingerprint


def test_lost_roots_are_mirrored_again_and_the_signer_signs_on() -> None:
    world = following()
    active = world.active_name
    world.roots = []
    world.follow()
    assert world.active_name == active
    assert reason(world, "Ready") == ("True", "Initialised")


def test_nothing_irreversible_is_done_while_the_clocks_differ() -> None:
    world = Secondary(clocks_differ=True)
    world.look()
    world.settle()
    assert world.roots == []
    assert "differ by more than a minute" in world.condition("Ready")[2]


def test_the_keys_of_a_secondary_go_with_its_configuration_when_that_was_asked_for() -> None:
    world = following()
    world.pass_time(60 * pki.DAY)
    world.look()
    world.delete_keys = True
    world.settle()
    world.deleting = True
    world.settle()
    assert (world.roots, world.signer_secrets, world.requested, world.held) == ([], [], [], False)
    assert world.plan().primary is None


def test_signer_of_a_clock_that_was_wrong_is_replaced_once_it_is_right() -> None:
    world = following()
    ahead = 60 * pki.DAY
    world.pass_time(ahead)
    world.follow()
    [future] = world.signer_secrets
    world.pass_time(-ahead)
    assert future.facts is not None
    assert future.facts.not_before > world.now
    world.follow()
    [signer] = world.signer_secrets
    assert signer.facts is not None
    assert signer.facts.not_before <= world.now


def test_i10_the_first_root_is_used_only_while_the_primary_answers() -> None:
    world = Secondary()
    world.look()
    world.settle()
    world.sign()
    world.look()
    while "AdoptSigner" not in world.done:
        world.step()
    world.look(AWAY)
    world.settle()
    assert "CommitActive" not in world.done
    world.follow()
    assert reason(world, "Ready") == ("True", "Initialised")


def test_an_answer_of_a_primary_that_is_in_doubt_is_not_taken() -> None:
    world = following()
    signer = world.signer_secrets
    world.pass_time(60 * pki.DAY)
    world.look()
    world.settle()
    world.sign()
    world.look(facts=replace(world.facts(), trust_domain="other.org"))
    world.settle()
    assert (world.signer_secrets, len(world.requested)) == (signer, 1)
    assert reason(world, "Degraded") == ("True", "PrimaryMismatch")


def test_a_certificate_that_is_no_cross_certificate_is_not_served() -> None:
    world = following()
    first = world.root(world.active_name)
    rotate(world)
    facts = world.facts()
    lie = tuple(replace(item, cross=(*item.cross, first.certificate)) for item in facts.roots)
    world.look(facts=replace(facts, roots=lie))
    world.settle()
    world.sign()
    world.look(facts=replace(facts, roots=lie))
    world.settle()
    plan = world.plan()
    assert isinstance(plan.authority, Authority)
    assert len(certificates.load_all(plan.authority.chain)) == 2


def test_a_recorded_life_that_is_none_counts_as_absent() -> None:
    world = following()
    world.view = None
    world.status = world.status | {"federation": world.status["federation"] | {"intermediateTTL": "soon"}}
    assert "intermediateTTL" not in world.plan().status["federation"]


def test_112_a_signer_is_renewed_at_half_of_its_life_under_the_primarys_active_root() -> None:
    world = following()
    [before] = world.signer_secrets
    world.pass_time(44 * pki.DAY)
    world.look()
    assert world.settle().due == world.now + pki.DAY - HOUR / 2
    assert world.done == []
    world.pass_time(pki.DAY)
    world.follow()
    [after] = world.signer_secrets
    assert after.meta.name != before.meta.name
    assert after.certificate is not None
    assert chain.verify(after.certificate, [], [world.primary.active.certificate], at=world.now)
    assert before.certificate is not None
    assert after.certificate.public_key() != before.certificate.public_key()
    assert reason(world, "RotationInProgress") == ("False", "None")


def test_managed_secrets_hold_a_root_that_comes_without_cross_certificates_before_it_is_reported() -> None:
    world = following()
    world.primary.ask("one")
    while "MarkPublished" not in world.primary.done:
        world.primary.step()
    world.primary.publication = replace(world.primary.publication, complete=False)
    world.primary.status = world.primary.plan().status
    for forced in (False, True):
        world.look(facts=replace(world.facts(), uncrossed=forced))
        world.census = Census(bundles_behind=2 if forced else 0)
        plan = world.settle()
        assert isinstance(plan.authority, Authority)
        assert plan.authority.bundle_in_secrets is forced
        assert plan.primary is not None
        assert (plan.primary.report is None) is forced
    world.census = Census()
    wish = world.plan().primary
    assert wish is not None
    assert wish.report is not None
    assert len(wish.report.roots) == 2
