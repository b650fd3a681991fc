"""What happens next to a request: issue, wait, renew, remove."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from meshca.api.v1alpha1.conditions import MESSAGE_MAX_LENGTH, Reason
from meshca.pki.keys import KeySpec
from meshca.planning import leaf as planning
from meshca.planning.authority import Admission
from meshca.planning.leaf import HOLDS, LeafPlan, Report, is_urgent, plan_leaf, refused
from meshca.planning.refusals import Refusal
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
    from datetime import datetime

    from meshca.planning.views import LeafView

DAY = 24 * HOUR
AUTOMATIC = issued(automatic=True)
MANUAL = issued()
MANAGED = issued(secret_name="web-tls")
assert AUTOMATIC.renew_at is not None
assert AUTOMATIC.issued is not None
DUE = AUTOMATIC.renew_at
END = AUTOMATIC.issued.not_after


def test_new_csr_is_signed_as_asked() -> None:
    plan = plan_leaf(snapshot(fresh()))
    assert plan == LeafPlan(issue=plan.issue)
    assert plan.issue is not None
    assert plan.issue.key is None
    assert plan.issue.request is not None
    assert plan.issue.request.public_key == pki.key("ECDSA 256", "leaf").public_key()
    assert plan.issue.ttl == 72 * HOUR
    assert plan.issue.names.spiffe_id == pki.SPIFFE_ID


@pytest.mark.parametrize(
    ("algorithm", "size", "wanted"),
    [
        pytest.param("", None, "ECDSA 256", id="default"),
        pytest.param("ECDSA", 384, "ECDSA 384", id="036 ec384"),
        pytest.param("RSA", 2048, "RSA 2048", id="036 rsa2048"),
        pytest.param("Ed25519", None, "Ed25519", id="Ed25519"),
    ],
)
def test_new_managed_request_gets_the_key_it_wants(algorithm: str, size: int | None, wanted: str) -> None:
    view = fresh(secret_name="web-tls", key_algorithm=algorithm, key_size=size)
    plan = plan_leaf(snapshot(view))
    assert plan.issue is not None
    assert plan.issue.request is None
    assert plan.issue.key == pki.spec(wanted)


def test_ttl_asked_for_is_the_ttl_granted() -> None:
    plan = plan_leaf(snapshot(fresh(ttl="1h30m"), authority=authority(leaf={"ttl": "72h"})))
    assert plan.issue is not None
    assert plan.issue.ttl == timedelta(minutes=90)


def test_no_step_for_a_request_being_deleted() -> None:
    view = replace(AUTOMATIC, meta=replace(AUTOMATIC.meta, deleting=True))
    assert plan_leaf(snapshot(view, now=END + DAY)) == LeafPlan()


@pytest.mark.parametrize("view", [AUTOMATIC, MANAGED], ids=["csr", "managed"])
def test_issued_leaf_waits_for_its_renewal_and_writes_nothing(view: LeafView) -> None:
    assert plan_leaf(snapshot(view, now=NOW + HOUR)) == LeafPlan(due=DUE)
    assert plan_leaf(snapshot(view, now=DUE - MINUTE)) == LeafPlan(due=DUE)


@pytest.mark.parametrize("view", [AUTOMATIC, MANAGED], ids=["csr", "managed"])
@pytest.mark.parametrize("late", [timedelta(0), HOUR, 90 * DAY], ids=["on time", "late", "expired long ago"])
def test_due_leaf_is_issued_again(view: LeafView, late: timedelta) -> None:
    plan = plan_leaf(snapshot(view, now=DUE + late))
    assert plan.issue is not None
    assert (plan.issue.key is not None) == view.spec.managed


def test_leaf_of_a_clock_that_was_wrong_is_issued_again_once_it_is_right() -> None:
    view = replace(issued(at=NOW + DAY, automatic=True), meta=AUTOMATIC.meta)
    assert plan_leaf(snapshot(view)).issue is not None
    assert plan_leaf(snapshot(view, now=NOW + DAY)).issue is None


def test_renewal_asks_nobody_when_the_request_was_made() -> None:
    """A renewal long after creation, with a policy that came later, is neither late nor a PolicyGap."""
    young = Admission(in_force=True, since=DUE - MINUTE)
    assert plan_leaf(snapshot(AUTOMATIC, now=DUE, admission=young)).issue is not None


def test_manual_leaf_is_removed_an_hour_after_it_expired() -> None:
    assert plan_leaf(snapshot(MANUAL, now=DUE)) == LeafPlan(due=END + HOUR)
    assert plan_leaf(snapshot(MANUAL, now=END + HOUR - MINUTE)) == LeafPlan(due=END + HOUR)
    assert plan_leaf(snapshot(MANUAL, now=END + HOUR)) == LeafPlan(remove="expired")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"consistent": False}, id="key or signer edited"),
        pytest.param({"chain_digest": "other"}, id="certificates edited"),
    ],
)
def test_damaged_secret_is_made_anew(change: dict[str, object]) -> None:
    assert plan_leaf(snapshot(MANAGED, secret=secret(MANAGED, **change))).issue is not None


def test_secret_that_somebody_took_over_is_left_to_them() -> None:
    plan = plan_leaf(snapshot(MANAGED, secret=secret(MANAGED, owner_uid="")))
    assert plan.report is not None
    assert (plan.report.reason, plan.report.ready) == (Reason.SECRET_CONFLICT, True)


def test_deleted_secret_is_made_anew() -> None:
    assert plan_leaf(snapshot(MANAGED, secret=None)).issue is not None


@pytest.mark.parametrize(
    "wrong",
    [
        Report(state="Renew", ready=True, reason=Reason.SECRET_CONFLICT, message="told before"),
        Report(state="Issued", ready=False, reason=Reason.ISSUED, message=HOLDS.message),
        Report(state="Failed", ready=False, reason=Reason.DENIED, message="written by somebody else"),
    ],
    ids=["withdrawn", "not ready", "forged"],
)
@pytest.mark.parametrize("view", [AUTOMATIC, MANAGED, MANUAL], ids=["csr", "managed", "manual"])
def test_status_that_is_wrong_about_a_good_leaf_is_put_right(view: LeafView, wrong: Report) -> None:
    plan = plan_leaf(snapshot(told(view, wrong)))
    assert plan.report == HOLDS
    assert plan_leaf(snapshot(told(view, HOLDS))).report is None


@pytest.mark.parametrize(
    ("recorded", "follows"),
    [
        pytest.param(DUE + MINUTE, True, id="within the window"),
        pytest.param(NOW + 2 * MINUTE, True, id="moved to an earlier time"),
        pytest.param(NOW + 3650 * DAY, False, id="never"),
        pytest.param(None, False, id="lost"),
    ],
)
def test_recorded_due_time_counts_only_when_it_can_be(recorded: datetime | None, follows: bool) -> None:
    view = replace(AUTOMATIC, renew_at=recorded)
    assert plan_leaf(snapshot(view, now=NOW + MINUTE)).due == (recorded if follows else DUE)


def test_due_times_of_a_fleet_are_spread() -> None:
    facts = AUTOMATIC.issued
    assert facts is not None
    life = facts.not_after - facts.not_before
    views = [
        replace(AUTOMATIC, renew_at=None, meta=replace(AUTOMATIC.meta, uid=f"uid-{n}")) for n in range(200)
    ]
    parts = sorted((planning.renewal_due(view, facts) - facts.not_before) / life for view in views)
    assert 0.599 < parts[0] < 0.62
    assert 0.88 < parts[-1] < 0.9
    assert max(b - a for a, b in pairwise(parts)) < 0.02


@pytest.mark.parametrize("view", [AUTOMATIC, MANAGED, MANUAL], ids=["csr", "managed", "manual"])
def test_chain_that_cannot_be_judged_yet_is_left_alone(view: LeafView) -> None:
    """A restart while the CA cannot sign must not turn an issued leaf into a pending one."""
    found = snapshot(unverified(view), authority=UNAVAILABLE)
    assert plan_leaf(found) == LeafPlan(retry=True)


def test_chain_that_proves_nothing_counts_as_no_certificate() -> None:
    forged = replace(unverified(AUTOMATIC), meta=replace(AUTOMATIC.meta, created=NOW - 2 * DAY))
    plan = plan_leaf(snapshot(forged))
    assert plan.report is not None
    assert plan.report.reason == Reason.POLICY_GAP


@pytest.mark.parametrize("reason", sorted(planning.TERMINAL))
def test_terminal_refusal_stands_and_is_removed_after_a_day(reason: str) -> None:
    refusal = Report(state="Failed", ready=False, reason=reason, message="no")
    view = told(fresh(), refusal)
    assert plan_leaf(snapshot(view, now=NOW + HOUR)) == LeafPlan(due=NOW + DAY)
    assert plan_leaf(snapshot(view, now=NOW + DAY)) == LeafPlan(remove="refused")


def test_no_request_is_removed_while_the_clocks_differ() -> None:
    refused = told(fresh(), Report(state="Failed", ready=False, reason=Reason.DENIED, message="no"))
    for view, now in ((MANUAL, END + HOUR), (refused, NOW + 2 * DAY)):
        found = snapshot(view, now=now)
        assert plan_leaf(found).remove
        assert plan_leaf(replace(found, clocks_differ=True)) == LeafPlan(due=now + MINUTE)


def test_refusal_without_a_time_is_removed_a_day_from_now() -> None:
    view = replace(
        told(fresh(), Report(state="Failed", ready=False, reason=Reason.DENIED, message="no")),
        reason_since=None,
    )
    assert plan_leaf(snapshot(view, now=NOW + DAY)) == LeafPlan(due=NOW + 2 * DAY)


def test_refused_automatic_request_that_once_held_a_certificate_is_never_removed() -> None:
    view = told(
        unverified(AUTOMATIC), Report(state="Failed", ready=False, reason=Reason.POLICY_GAP, message="no")
    )
    assert plan_leaf(snapshot(view, now=NOW + 90 * DAY)) == LeafPlan()


def test_failed_state_with_a_passing_reason_is_tried_again() -> None:
    view = told(fresh(), Report(state="Failed", ready=False, reason=Reason.PENDING, message="odd"))
    assert plan_leaf(snapshot(view)).issue is not None


def test_refusal_of_an_older_generation_is_judged_anew() -> None:
    view = told(fresh(), Report(state="Failed", ready=False, reason=Reason.DENIED, message="no"))
    view = replace(view, meta=replace(view.meta, generation=2))
    assert plan_leaf(snapshot(view)).issue is not None


def test_missing_policy_stops_renewals_without_a_word_against_the_leaf() -> None:
    plan = plan_leaf(snapshot(AUTOMATIC, now=DUE, admission=OUT_OF_FORCE))
    assert plan.report == Report(
        state="Renew",
        ready=True,
        reason=Reason.SIGNER_NOT_READY,
        message=f"renewal is due and cannot be done: {OUT_OF_FORCE.message}",
    )
    assert plan.retry


def test_115_renewal_that_fails_keeps_the_certificate_and_is_tried_again() -> None:
    plan = plan_leaf(snapshot(AUTOMATIC, now=DUE, authority=UNAVAILABLE))
    assert plan.retry
    assert plan.report is not None
    assert (plan.report.state, plan.report.ready) == ("Renew", True)
    again = plan_leaf(snapshot(told(AUTOMATIC, plan.report), now=DUE + HOUR, authority=UNAVAILABLE))
    assert again == LeafPlan(retry=True)
    over = plan_leaf(snapshot(told(AUTOMATIC, plan.report), now=END, authority=UNAVAILABLE))
    assert over.report == replace(plan.report, ready=False)


def test_denied_renewal_is_tried_again_because_policy_may_change_back() -> None:
    narrow = authority(identity={"namespaceSelector": {"matchLabels": {"mesh": "yes"}}})
    plan = plan_leaf(snapshot(AUTOMATIC, now=DUE, authority=narrow))
    assert plan.retry
    assert plan.report is not None
    assert (plan.report.state, plan.report.reason) == ("Renew", Reason.DENIED)


def test_long_message_is_cut_so_that_it_equals_what_is_read_back() -> None:
    plan = refused(fresh(), Refusal(Reason.PENDING, "x" * 9000), NOW)
    assert plan.report is not None
    assert len(plan.report.message) == MESSAGE_MAX_LENGTH
    assert refused(told(fresh(), plan.report), Refusal(Reason.PENDING, "x" * 9000), NOW).report is None


@pytest.mark.parametrize(
    ("view", "at", "urgent"),
    [
        pytest.param(fresh(), NOW, False, id="not issued"),
        pytest.param(AUTOMATIC, NOW + 64 * HOUR, False, id="before"),
        pytest.param(AUTOMATIC, NOW + 65 * HOUR, True, id="after 90 %"),
        pytest.param(AUTOMATIC, END, True, id="expired"),
    ],
)
def test_leaf_is_urgent_past_nine_tenths_of_its_life(view: LeafView, at: datetime, urgent: bool) -> None:
    assert is_urgent(view, at) is urgent


def test_default_key_is_one_that_every_peer_takes() -> None:
    assert planning.leaf_key(fresh(secret_name="s")) == KeySpec.of("ECDSA", 256)
