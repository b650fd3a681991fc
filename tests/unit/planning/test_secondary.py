"""What a secondary does next: signers and rotations, with the primary as it is and as it should not be."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from meshca.api.v1alpha1.conditions import Reason
from meshca.pki import certificates, chain
from meshca.planning.authority import Authority
from meshca.planning.ca import Publication
from meshca.planning.situation import Problem
from tests.fakes import pki
from tests.fakes.secondworld import Secondary, following, publish, reason, rotate

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
AWAY = Problem(Reason.PRIMARY_UNREACHABLE, "the primary cannot be reached: gone")
REFUSES = Problem(Reason.PRIMARY_REFUSES, "the primary refuses: no")


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
    publish(world)
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


def test_nothing_irreversible_is_done_while_the_clocks_differ() -> None:
    world = Secondary(clocks_differ=True)
    world.look()
    world.settle()
    assert world.roots == []
    assert "differ by more than a minute" in world.condition("Ready")[2]


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
