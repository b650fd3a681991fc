"""How a condition follows its predecessor."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from meshca.api.v1alpha1 import Condition, ConditionType, LeafCertificateRequestStatus, Reason, set_condition
from meshca.api.v1alpha1.conditions import MESSAGE_MAX_LENGTH, REASONS, find_condition

THEN = datetime(2030, 1, 1, tzinfo=UTC)
NOW = THEN + timedelta(hours=1)
OLD = Condition(
    type="Ready",
    status="False",
    reason="Pending",
    message="m",
    observed_generation=1,
    last_transition_time=THEN,
)
OTHER = Condition(type="Degraded", status="False", last_transition_time=THEN)


def test_a_new_condition_goes_to_the_end_with_the_present_time() -> None:
    after = set_condition([OTHER], "Ready", "True", Reason.ISSUED, "done", observed_generation=2, now=NOW)
    assert [c.type for c in after] == ["Degraded", "Ready"]
    assert after[1] == Condition(
        type="Ready",
        status="True",
        reason="Issued",
        message="done",
        observed_generation=2,
        last_transition_time=NOW,
    )


def test_the_time_stays_when_only_reason_message_and_generation_change() -> None:
    after = set_condition([OLD, OTHER], "Ready", "False", Reason.DENIED, "no", observed_generation=2, now=NOW)
    assert [c.type for c in after] == ["Ready", "Degraded"]
    assert (after[0].last_transition_time, after[0].reason, after[0].observed_generation) == (
        THEN,
        "Denied",
        2,
    )


def test_the_time_moves_with_the_status() -> None:
    (after,) = set_condition([OLD], "Ready", "True", Reason.ISSUED, "", observed_generation=1, now=NOW)
    assert after.last_transition_time == NOW


def test_a_condition_that_never_had_a_time_gets_one() -> None:
    old = Condition(type="Ready", status="True")
    (after,) = set_condition([old], "Ready", "True", Reason.ISSUED, "", observed_generation=1, now=NOW)
    assert after.last_transition_time == NOW


def test_a_second_condition_of_the_type_is_dropped() -> None:
    twice = [OLD, OTHER, OLD.model_copy(update={"reason": "Other"})]
    after = set_condition(twice, "Ready", "True", Reason.ISSUED, "", observed_generation=1, now=NOW)
    assert [(c.type, c.reason) for c in after] == [("Ready", "Issued"), ("Degraded", "")]


def test_a_long_message_is_cut_to_what_the_schema_allows() -> None:
    (after,) = set_condition([], "Ready", "True", "X", "m" * 9999, observed_generation=1, now=NOW)
    assert len(after.message) == MESSAGE_MAX_LENGTH


def test_a_status_finds_and_sets_its_conditions() -> None:
    status = LeafCertificateRequestStatus().with_condition(
        ConditionType.READY, "True", Reason.ISSUED, "", observed_generation=3, now=NOW
    )
    assert status.is_true("Ready")
    assert not status.is_true("Degraded")
    found = status.condition("Ready")
    assert found is not None
    assert found is find_condition(status.conditions, ConditionType.READY)


def test_every_reason_belongs_to_a_condition() -> None:
    assert {reason for reasons in REASONS.values() for reason in reasons} == set(Reason)
