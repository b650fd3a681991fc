"""What is said of a registered cluster: rows for each condition, Events of their changes, due times."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from meshca.api.v1alpha1.scalars import format_time
from meshca.planning.registration import RegistrationPlan, RegistrationSnapshot, plan_registration
from tests.fakes.pki import NOW
from tests.fakes.registered import secondary, signing_root

JSON = dict[str, Any]
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
ROOT = signing_root().fingerprint
FOLLOWS: JSON = {"lastSeen": format_time(NOW), "roots": [ROOT], "activeRoot": ROOT}


def snapshot(report: JSON | None = None, *, spec: JSON | None = None, **changes: Any) -> RegistrationSnapshot:
    given: JSON = {
        "now": NOW,
        "secondary": secondary(report=report, **(spec or {})),
        "rival": "",
        "exists": True,
        "is_secondary": False,
        "authority": signing_root(),
    }
    return RegistrationSnapshot(**(given | changes))


def said(plan: RegistrationPlan, kind: str) -> tuple[str, str, str]:
    [entry] = [item for item in plan.status["conditions"] if item["type"] == kind]
    return entry["status"], entry["reason"], entry["message"]


READY: list[tuple[str, JSON, str, str]] = [
    ("registered", {}, "Registered", "signed"),
    ("leaving", {"secondary": secondary(deleting=True)}, "Pending", "un-registered"),
    ("rival", {"rival": "east"}, "NamespaceTaken", "belongs to FederatedCluster 'east'"),
    ("missing", {"exists": False}, "ConfigurationNotFound", "does not exist"),
    ("secondary", {"is_secondary": True}, "NotThePrimary", "its primary"),
    ("cannot-sign", {"authority": None}, "SignerNotReady", "cannot sign"),
]


@pytest.mark.parametrize(
    ("changes", "reason", "message"), [row[1:] for row in READY], ids=[row[0] for row in READY]
)
def test_ready_says_whether_its_requests_are_signed(changes: JSON, reason: str, message: str) -> None:
    state, found, text = said(plan_registration(snapshot(**changes)), "Ready")
    assert (state, found) == ("True" if reason == "Registered" else "False", reason)
    assert message in text


@pytest.mark.parametrize("seen", [format_time(NOW + HOUR), "9999-12-31T23:59:59Z"])
def test_report_of_the_future_is_one_of_now(seen: str) -> None:
    plan = plan_registration(snapshot({"lastSeen": seen}))
    assert said(plan, "Reachable")[:2] == ("True", "Reporting")
    assert plan.due == NOW + 15 * MINUTE


@pytest.mark.parametrize(
    ("ago", "reason"),
    [
        (None, "NeverSeen"),
        (timedelta(0), "Reporting"),
        (15 * MINUTE - SECOND, "Reporting"),
        (15 * MINUTE, "Silent"),
    ],
)
def test_cluster_that_says_nothing_for_15_minutes_is_silent(ago: timedelta | None, reason: str) -> None:
    report = {} if ago is None else {"lastSeen": format_time(NOW - ago)}
    assert said(plan_registration(snapshot(report)), "Reachable")[1] == reason


CONVERGED: list[tuple[str, JSON, str, str]] = [
    ("never", {}, "NeverSeen", "join manifest"),
    ("follows", FOLLOWS, "UpToDate", "every root"),
    ("lacks", FOLLOWS | {"roots": ["0" * 64]}, "Behind", ROOT[:10]),
    ("no-root", FOLLOWS | {"activeRoot": ""}, "Behind", "under no root"),
    ("older", FOLLOWS | {"activeRoot": "0" * 64}, "Behind", "under 0000000000"),
]


@pytest.mark.parametrize(
    ("report", "reason", "message"), [row[1:] for row in CONVERGED], ids=[row[0] for row in CONVERGED]
)
def test_converged_says_what_a_cluster_lacks(report: JSON, reason: str, message: str) -> None:
    state, found, text = said(plan_registration(snapshot(report)), "Converged")
    assert (state, found) == ("True" if reason == "UpToDate" else "False", reason)
    assert message in text


def test_what_was_said_stays_while_the_roots_are_not_known() -> None:
    before = plan_registration(snapshot(FOLLOWS)).status
    plan = plan_registration(snapshot(FOLLOWS | before, authority=None))
    assert said(plan, "Converged")[1] == "UpToDate"
    assert plan.status["intermediateTTL"] is None
    assert said(plan_registration(snapshot(FOLLOWS, authority=None)), "Converged")[1] == "Behind"


@pytest.mark.parametrize(
    ("wanted", "left", "shown", "due"),
    [
        (None, 8760 * HOUR, "720h", 8040 * HOUR),
        ("100h", 8760 * HOUR, "100h", 8660 * HOUR),
        (None, 720 * HOUR, "720h", None),
        (None, 100 * HOUR + MINUTE, "100h", MINUTE),
        (None, 30 * MINUTE, "0s", 30 * MINUTE),
        (None, -HOUR, "0s", None),
    ],
)
def test_effective_life_is_the_wish_or_what_the_root_has_left_in_hours(
    wanted: str | None, left: timedelta, shown: str, due: timedelta | None
) -> None:
    spec = {"maxIntermediateTTL": wanted} if wanted else {}
    plan = plan_registration(snapshot(spec=spec, authority=signing_root(not_after=NOW + left)))
    assert plan.status["intermediateTTL"] == shown
    assert plan.due == (NOW + due if due is not None else None)


def test_cluster_without_a_namespace_of_its_own_is_promised_nothing() -> None:
    assert plan_registration(snapshot(rival="east")).status["intermediateTTL"] is None


def test_next_look_is_when_a_cluster_becomes_silent() -> None:
    assert plan_registration(snapshot(FOLLOWS)).due == NOW + 15 * MINUTE
    later = {"lastSeen": format_time(NOW - HOUR)}
    assert plan_registration(snapshot(later, authority=None)).due is None


def after(first: RegistrationSnapshot, **changes: Any) -> RegistrationPlan:
    """Plan again with what was said before on record."""
    told = plan_registration(first).status
    now = replace(first, **changes)
    status = now.secondary.status.to_dict() | {key: value for key, value in told.items() if value}
    return plan_registration(replace(now, secondary=secondary(report=status)))


def test_each_change_is_one_event_and_the_first_look_tells_of_good_news_only() -> None:
    fresh = plan_registration(snapshot())
    assert [event.reason for event in fresh.events] == ["ClusterRegistered"]
    never = plan_registration(snapshot(rival="east"))
    assert never.events == ()
    assert after(snapshot(FOLLOWS)).events == ()
    silent = after(snapshot(FOLLOWS), now=NOW + HOUR)
    assert [(event.kind, event.reason) for event in silent.events] == [("Warning", "ClusterUnreachable")]
    back = after(snapshot(), secondary=secondary(report=FOLLOWS))
    assert [event.reason for event in back.events] == ["ClusterReachable", "ClusterConverged"]
    lost = after(snapshot(FOLLOWS), exists=False, authority=None)
    assert [(event.kind, event.reason) for event in lost.events] == [("Warning", "ClusterNotServed")]
    lags = after(snapshot(FOLLOWS), secondary=secondary(report=FOLLOWS | {"roots": []}))
    assert lags.events == ()
