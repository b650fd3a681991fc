"""How a secondary starts: first contact, what it was invited by, what it has and what it lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from meshca.api import names
from meshca.api.v1alpha1.conditions import Reason
from meshca.pki import certificates, chain
from meshca.planning.authority import Authority
from meshca.planning.primary import FreshToken
from meshca.planning.situation import Problem
from tests.fakes import pki
from tests.fakes.caworld import bootstrapped
from tests.fakes.secondworld import JOIN, Secondary, following, reason, rotate, spec_of

AWAY = Problem(Reason.PRIMARY_UNREACHABLE, "the primary cannot be reached: gone")


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


def test_a_fresh_token_that_cannot_be_kept_stops_nothing_and_is_told() -> None:
    world = following()
    assert world.join is not None
    world.join = replace(world.join, expires=datetime(2026, 3, 2, tzinfo=UTC))
    world.look(token=FreshToken("fresh", JOIN.token_digest))
    world.unkept_token = ""
    world.settle()
    assert world.done == []
    assert reason(world, "Degraded") == ("False", "AsExpected")
    world.unkept_token = "it is immutable"
    world.settle()
    assert reason(world, "Degraded") == ("True", "JoinSecretInvalid")
    assert world.condition("Degraded")[2] == (
        "Secret 'join' keeps its old token, which expires at 2026-03-02T00:00:00Z: the new one cannot be"
        " written: it is immutable"
    )
    assert reason(world, "Ready") == ("True", "Initialised")


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


def test_status_and_signer_that_are_lost_while_the_primary_rotates_do_not_hold_up_the_next_signer() -> None:
    """A root that it had in use, under which nobody signs any more, is no reason not to follow."""
    world = following()
    before = world.active_name
    rotate(world)
    rotate(world, "two")
    world.view, world.status, world.signer_secrets = None, {}, []
    world.settle()
    assert reason(world, "Ready")[0] == "False"
    world.spec = spec_of(world.primary)
    world.follow()
    assert world.done.count("CommitActive") == 2, "first where it was, then where the primary is"
    assert world.active_name != before
    assert world.active.facts.fingerprint == world.primary.active.facts.fingerprint
    assert reason(world, "Ready") == ("True", "Initialised")


def test_i10_a_root_is_not_put_back_into_use_without_a_signer_that_can_be_had() -> None:
    world = following()
    before = world.active_name
    world.status, world.signer_secrets = {}, []
    world.look()
    world.settle()
    assert "CommitActive" not in world.done
    world.follow()
    assert world.active_name == before
    assert reason(world, "Ready") == ("True", "Initialised")


def test_lost_roots_are_mirrored_again_and_the_signer_signs_on() -> None:
    world = following()
    active = world.active_name
    world.roots = []
    world.follow()
    assert world.active_name == active
    assert reason(world, "Ready") == ("True", "Initialised")


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
