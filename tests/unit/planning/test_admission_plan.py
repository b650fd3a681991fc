"""Since when the admission policy has guarded requests without a break."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.planning.admission import AdmissionSnapshot, plan_admission
from meshca.planning.authority import Admission
from tests.fakes.pki import NOW
from tests.fakes.planning import meta

HOUR = timedelta(hours=1)
POLICY = meta("requester.meshca.dev", "", uid="p1", created=NOW - 2 * HOUR)
BINDING = meta("requester.meshca.dev", "", uid="b1", created=NOW - HOUR)
RECORD = {
    "policyUID": "p1",
    "policyGeneration": "1",
    "bindingUID": "b1",
    "bindingGeneration": "1",
    "digest": "new",
    "since": "2030-01-01T11:00:00Z",
}


def snapshot(**changes: Any) -> AdmissionSnapshot:
    found = AdmissionSnapshot(
        now=NOW + timedelta(microseconds=5),
        policy=POLICY,
        binding=BINDING,
        as_shipped=True,
        digest="new",
        predecessors=frozenset({"old", "new"}),
        record=RECORD,
        name="requester.meshca.dev",
    )
    return replace(found, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param(
            {"policy": None}, "ValidatingAdmissionPolicy 'requester.meshca.dev' is missing", id="policy"
        ),
        pytest.param({"binding": None}, "ValidatingAdmissionPolicyBinding", id="binding"),
        pytest.param({"as_shipped": False}, "not as shipped; apply the chart's", id="weakened"),
    ],
)
def test_policy_missing_or_weakened_is_out_of_force_and_the_record_stays(
    changes: dict[str, Any], words: str
) -> None:
    plan = plan_admission(snapshot(**changes))
    assert not plan.admission.in_force
    assert plan.admission.since is None
    assert words in plan.admission.message
    assert plan.record is None


def test_policy_as_recorded_writes_nothing() -> None:
    plan = plan_admission(snapshot())
    assert plan.admission == Admission(in_force=True, since=NOW - HOUR)
    assert plan.record is None


def changed(**meta_changes: int) -> dict[str, Any]:
    return {
        "policy": replace(POLICY, generation=meta_changes.get("policy", 1)),
        "binding": replace(BINDING, generation=meta_changes.get("binding", 1)),
    }


@pytest.mark.parametrize(
    ("changes", "since"),
    [
        pytest.param({"record": {}}, NOW - HOUR, id="first sight of objects never changed"),
        pytest.param({"record": {}} | changed(policy=3), NOW, id="first sight of one that was changed"),
        pytest.param(
            {"record": {}, "policy": replace(POLICY, created=None)}, NOW, id="first sight without a time"
        ),
        pytest.param(changed(policy=3), NOW, id="weakened and put back"),
        pytest.param(changed(binding=3), NOW, id="binding weakened and put back"),
        pytest.param({"policy": replace(POLICY, uid="p2", created=NOW)}, NOW, id="deleted and made again"),
        pytest.param({"binding": replace(BINDING, uid="b2", created=NOW)}, NOW, id="binding made again"),
        pytest.param(
            {"record": RECORD | {"digest": "old"}} | changed(policy=2), NOW - HOUR, id="upgrade in one step"
        ),
        pytest.param(
            {"record": RECORD | {"digest": "old"}} | changed(policy=2, binding=2),
            NOW - HOUR,
            id="upgrade of both",
        ),
        pytest.param(
            {"record": RECORD | {"digest": "old"}} | changed(policy=3), NOW, id="upgrade with a step between"
        ),
        pytest.param(
            {"record": RECORD | {"digest": "unknown"}} | changed(policy=2), NOW, id="from an unknown version"
        ),
        pytest.param({"record": RECORD | {"since": "garbage"}}, NOW - HOUR, id="record spoilt"),
        pytest.param({"record": RECORD | {"policyGeneration": "x"}}, NOW - HOUR, id="generation spoilt"),
    ],
)
def test_time_in_force_starts_anew_unless_nothing_came_between(changes: dict[str, Any], since: Any) -> None:
    found = snapshot(**changes)
    plan = plan_admission(found)
    assert plan.admission == Admission(in_force=True, since=since)
    assert plan.record is not None
    again = plan_admission(replace(found, record=plan.record, now=NOW + 99 * HOUR))
    assert again.admission == plan.admission
    assert again.record is None


@given(
    st.dictionaries(st.sampled_from(sorted(RECORD)), st.text() | st.sampled_from(sorted(RECORD.values()))),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_no_record_that_anybody_writes_raises_or_lets_the_past_count_more_than_creation(
    record: dict[str, str], policy: int, binding: int
) -> None:
    plan = plan_admission(snapshot(record=record, **changed(policy=policy, binding=binding)))
    assert plan.admission.in_force
