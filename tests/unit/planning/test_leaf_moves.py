"""A rotation's side of a leaf: who has to move, when, and what its status says meanwhile."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from meshca.api.v1alpha1.conditions import Reason
from meshca.pki.certificates import to_pem
from meshca.planning.leaf import ASK_AGAIN, HOLDS, LeafPlan, Report, awaits_turn, is_move, plan_leaf
from meshca.planning.moves import bundle_digest, rank
from tests.fakes import pki
from tests.fakes.pki import NOW
from tests.fakes.planning import (
    HOUR,
    MINUTE,
    OUT_OF_FORCE,
    UNAVAILABLE,
    authority,
    fresh,
    issued,
    secret,
    snapshot,
    told,
    unverified,
)

if TYPE_CHECKING:
    from datetime import timedelta

    from meshca.planning.authority import Authority
    from meshca.planning.leaf import LeafSnapshot, SecretView
    from meshca.planning.views import LeafView

AUTOMATIC = issued(automatic=True)
MANUAL = issued()
MANAGED = issued(secret_name="web-tls")
assert MANUAL.issued is not None
assert AUTOMATIC.renew_at is not None
END = MANUAL.issued.not_after
DUE = AUTOMATIC.renew_at
OURS = MANUAL.issued.root
GIVEN_UP = "ab" * 32
TOLD = told(MANUAL, ASK_AGAIN)


def rotated(**changes: Any) -> Authority:
    """Return the authority once another root than the leaves' is active."""
    return replace(authority(), root="ee" * 32, **changes)


def moving(view: LeafView, **changes: Any) -> LeafSnapshot:
    changes.setdefault("authority", rotated())
    return snapshot(view, **({"now": NOW + HOUR} | changes))


def under(view: LeafView, root: str) -> LeafView:
    assert view.issued is not None
    return replace(view, issued=replace(view.issued, root=root))


@pytest.mark.parametrize("view", [AUTOMATIC, MANAGED], ids=["csr", "managed"])
def test_104_leaf_under_an_older_root_waits_for_its_turn_and_then_gets_a_certificate(view: LeafView) -> None:
    assert plan_leaf(moving(view)) == LeafPlan(due=DUE, move=True)
    plan = plan_leaf(moving(view, turn=True))
    assert plan == LeafPlan(issue=plan.issue)
    assert plan.issue is not None


@pytest.mark.parametrize("turn", [False, True], ids=["look", "turn"])
@pytest.mark.parametrize("view", [AUTOMATIC, MANAGED, MANUAL], ids=["csr", "managed", "manual"])
def test_101_leaf_under_the_active_root_is_left_alone(view: LeafView, turn: bool) -> None:
    plan = plan_leaf(snapshot(view, now=NOW + HOUR, turn=turn))
    assert plan == LeafPlan(due=END + HOUR if view is MANUAL else DUE)


@pytest.mark.parametrize("root", [OURS, GIVEN_UP], ids=["older", "given up"])
def test_096_every_root_but_the_active_one_has_to_be_left(root: str) -> None:
    assert plan_leaf(moving(under(AUTOMATIC, root))).move
    assert plan_leaf(moving(under(MANUAL, root))).move
    kept = replace(authority(), root=root)
    assert not plan_leaf(moving(under(AUTOMATIC, root), authority=kept)).move
    assert not plan_leaf(moving(under(MANUAL, root), authority=kept)).move


def test_098_leaf_that_has_moved_moves_again_when_the_target_changes() -> None:
    moved = under(AUTOMATIC, rotated().root)
    assert not plan_leaf(moving(moved)).move
    assert plan_leaf(moving(moved, authority=replace(authority(), root=GIVEN_UP))).move


@pytest.mark.parametrize("turn", [False, True], ids=["look", "turn"])
@pytest.mark.parametrize(
    ("view", "now", "changes"),
    [
        pytest.param(AUTOMATIC, DUE, {}, id="due"),
        pytest.param(AUTOMATIC, END + HOUR, {}, id="expired"),
        pytest.param(MANAGED, NOW + HOUR, {"secret": None}, id="Secret deleted"),
        pytest.param(MANAGED, NOW + HOUR, {"secret": secret(MANAGED, consistent=False)}, id="Secret edited"),
        pytest.param(fresh(created=NOW), NOW + MINUTE, {}, id="097-first"),
    ],
)
def test_what_is_needed_anyway_waits_for_no_rotation(
    view: LeafView, now: Any, changes: dict[str, Any], turn: bool
) -> None:
    found = moving(view, now=now, turn=turn, **changes)
    assert plan_leaf(found).issue is not None
    assert not is_move(found)


@pytest.mark.parametrize("view", [AUTOMATIC, MANAGED, MANUAL], ids=["csr", "managed", "manual"])
def test_nothing_moves_while_the_active_root_is_unknown(view: LeafView) -> None:
    plan = plan_leaf(moving(view, authority=UNAVAILABLE, turn=True))
    assert plan == LeafPlan(due=END + HOUR if view is MANUAL else DUE)
    assert not awaits_turn(view, None, UNAVAILABLE, NOW)


def test_095_manual_leaf_is_told_at_its_turn_and_only_once() -> None:
    assert plan_leaf(moving(MANUAL)) == LeafPlan(due=END + HOUR, move=True)
    plan = plan_leaf(moving(MANUAL, turn=True))
    assert plan == LeafPlan(report=ASK_AGAIN, due=END + HOUR)
    assert (ASK_AGAIN.state, ASK_AGAIN.ready, ASK_AGAIN.reason) == ("Rotate", True, Reason.ISSUED)
    for turn in (False, True):
        assert plan_leaf(moving(TOLD, turn=turn)) == LeafPlan(due=END + HOUR)


def test_102_signal_is_withdrawn_at_its_turn_when_the_root_is_active_again() -> None:
    assert plan_leaf(moving(TOLD, authority=authority())) == LeafPlan(due=END + HOUR, move=True)
    plan = plan_leaf(moving(TOLD, authority=authority(), turn=True))
    assert plan == LeafPlan(report=HOLDS, due=END + HOUR)


@pytest.mark.parametrize("turn", [False, True], ids=["look", "turn"])
def test_102_signal_stays_while_the_active_root_is_unknown(turn: bool) -> None:
    assert plan_leaf(moving(TOLD, authority=UNAVAILABLE, turn=turn)) == LeafPlan(due=END + HOUR)


@pytest.mark.parametrize("view", [MANUAL, TOLD], ids=["issued", "told"])
@pytest.mark.parametrize("active", [authority(), rotated()], ids=["active", "older"])
def test_expired_manual_leaf_is_told_nothing_more(view: LeafView, active: Authority) -> None:
    plan = plan_leaf(moving(view, authority=active, now=END, turn=True))
    assert plan == LeafPlan(due=END + HOUR)


def test_signal_that_somebody_made_unready_is_put_right() -> None:
    broken = told(MANUAL, replace(ASK_AGAIN, ready=False))
    assert plan_leaf(moving(broken)) == LeafPlan(report=HOLDS, due=END + HOUR, move=True)
    assert plan_leaf(moving(broken, turn=True)).report == ASK_AGAIN


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"account_exists": False}, Reason.PENDING, id="account"),
        pytest.param({"admission": OUT_OF_FORCE}, Reason.SIGNER_NOT_READY, id="policy"),
        pytest.param(
            {"authority": rotated(signer_not_after=NOW + 2 * HOUR)}, Reason.SIGNER_NOT_READY, id="signer"
        ),
    ],
)
def test_refused_turn_keeps_the_certificate_says_why_once_and_is_tried_again(
    changes: dict[str, Any], reason: str
) -> None:
    found = moving(AUTOMATIC, turn=True, **changes)
    assert is_move(found)
    plan = plan_leaf(found)
    assert plan == LeafPlan(report=plan.report, retry=True)
    assert plan.report is not None
    assert (plan.report.state, plan.report.ready, plan.report.reason) == ("Renew", True, reason)
    assert plan.report.message.startswith("the rotation cannot reach this certificate yet: ")
    refused = told(AUTOMATIC, plan.report)
    assert plan_leaf(moving(refused, turn=True, **changes)) == LeafPlan(retry=True)
    assert plan_leaf(moving(refused, **changes)) == LeafPlan(due=DUE, move=True)
    assert plan_leaf(moving(refused, turn=True)).issue is not None


def test_refusal_is_taken_back_when_the_root_is_active_again_but_not_while_that_is_unknown() -> None:
    refused = told(AUTOMATIC, Report("Renew", True, Reason.PENDING, "the rotation cannot ..."))
    assert plan_leaf(moving(refused, authority=UNAVAILABLE)) == LeafPlan(due=DUE)
    assert plan_leaf(moving(refused, authority=authority())) == LeafPlan(report=HOLDS, due=DUE)


def test_refusal_that_says_not_ready_of_a_good_leaf_is_put_right_at_once() -> None:
    wrong = told(AUTOMATIC, Report("Renew", False, Reason.PENDING, "forged"))
    assert plan_leaf(moving(wrong)) == LeafPlan(report=HOLDS, due=DUE, move=True)


BOTH = to_pem(pki.authority().root, pki.authority(name="2").root)
WIDER = replace(authority(), bundle=BOTH, bundle_in_secrets=True)
BEHIND = secret(MANAGED, bundle=bundle_digest(authority().bundle))
COVERED = secret(MANAGED, bundle=bundle_digest(BOTH))


def test_secret_without_the_new_root_gets_the_bundle_at_its_turn() -> None:
    assert plan_leaf(moving(MANAGED, authority=WIDER, secret=BEHIND)) == LeafPlan(due=DUE, move=True)
    plan = plan_leaf(moving(MANAGED, authority=WIDER, secret=BEHIND, turn=True))
    assert plan == LeafPlan(due=DUE, rebundle=True)


@pytest.mark.parametrize(
    ("view", "found", "active"),
    [
        pytest.param(MANAGED, COVERED, WIDER, id="holds it"),
        pytest.param(MANAGED, BEHIND, replace(WIDER, bundle_in_secrets=False), id="cross-certificates"),
        pytest.param(AUTOMATIC, None, WIDER, id="csr"),
    ],
)
@pytest.mark.parametrize("turn", [False, True], ids=["look", "turn"])
def test_bundle_is_left_alone_where_it_is_not_needed(
    view: LeafView, found: SecretView | None, active: Authority, turn: bool
) -> None:
    assert plan_leaf(moving(view, authority=active, secret=found, turn=turn)) == LeafPlan(due=DUE)


def test_leaf_that_moves_gets_its_bundle_with_the_certificate() -> None:
    plan = plan_leaf(moving(MANAGED, authority=replace(WIDER, root=GIVEN_UP), secret=BEHIND, turn=True))
    assert plan.issue is not None
    assert not plan.rebundle


def test_bundle_that_may_not_be_written_is_told_and_tried_again() -> None:
    found = moving(MANAGED, authority=WIDER, secret=BEHIND, turn=True, managed_allowed=False)
    plan = plan_leaf(found)
    assert plan.retry
    assert plan.report is not None
    assert (plan.report.state, plan.report.reason) == ("Renew", Reason.MANAGED_KEYS_NOT_ALLOWED)
    refused = told(MANAGED, plan.report)
    assert plan_leaf(moving(refused, authority=WIDER, secret=BEHIND)) == LeafPlan(due=DUE, move=True)
    healed = plan_leaf(moving(refused, authority=WIDER, secret=BEHIND, turn=True))
    assert healed == LeafPlan(report=HOLDS, due=DUE, rebundle=True)


@pytest.mark.parametrize(
    ("view", "found", "active", "after", "waits"),
    [
        pytest.param(AUTOMATIC, None, rotated(), HOUR, True, id="automatic"),
        pytest.param(AUTOMATIC, None, rotated(), DUE - NOW, False, id="due anyway"),
        pytest.param(AUTOMATIC, None, authority(), HOUR, False, id="active root"),
        pytest.param(MANUAL, None, rotated(), HOUR, True, id="manual"),
        pytest.param(MANUAL, None, rotated(), END - NOW, False, id="manual, expired"),
        pytest.param(TOLD, None, rotated(), HOUR, False, id="told"),
        pytest.param(TOLD, None, authority(), HOUR, True, id="102-told, root active again"),
        pytest.param(MANAGED, BEHIND, WIDER, HOUR, True, id="bundle"),
        pytest.param(MANAGED, COVERED, WIDER, HOUR, False, id="bundle there"),
        pytest.param(MANAGED, None, WIDER, HOUR, False, id="no Secret"),
        pytest.param(MANAGED, replace(BEHIND, owner_uid=""), WIDER, HOUR, False, id="not our Secret"),
        pytest.param(fresh(), None, rotated(), HOUR, False, id="not issued"),
        pytest.param(unverified(AUTOMATIC), None, rotated(), HOUR, False, id="unread"),
    ],
)
def test_who_is_queued_when_the_active_root_changes(
    view: LeafView, found: SecretView | None, active: Authority, after: timedelta, waits: bool
) -> None:
    assert awaits_turn(view, found, active, NOW + after) is waits
    gone = replace(view, meta=replace(view.meta, deleting=True))
    assert not awaits_turn(gone, found, active, NOW + after)


def test_order_is_by_end_and_stable_among_equals() -> None:
    fleet = [
        replace(issued(at=NOW + hour * HOUR), meta=replace(MANUAL.meta, uid=f"uid-{hour}-{n}"))
        for hour in (2, 0, 1)
        for n in range(20)
    ]
    order = sorted(fleet, key=rank)
    ends = [view.issued.not_after for view in order if view.issued]
    assert ends == sorted(ends)
    mixed = random.Random(1).sample(fleet, len(fleet))
    assert sorted(mixed, key=rank) == order
    first = [view.meta.uid for view in order[:20]]
    assert first != sorted(first), "by age or name, and a namespace's neighbours would go together"
    assert rank(fresh())[0] == 0
