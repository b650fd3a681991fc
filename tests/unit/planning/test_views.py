"""Projections of objects that anybody may have written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.planning import views
from meshca.planning.leaf import LeafPlan, plan_leaf
from meshca.planning.views import Meta, leaf_view
from tests.fakes.planning import OUT_OF_FORCE, UNAVAILABLE, authority, facts_of, snapshot

BODY: dict[str, Any] = {
    "metadata": {
        "name": "web",
        "namespace": "shop",
        "uid": "u1",
        "resourceVersion": "7",
        "generation": 2,
        "creationTimestamp": "2030-01-01T12:00:00Z",
        "deletionTimestamp": "2030-01-01T13:00:00Z",
        "labels": {"a": "b", "bad": 1},
        "annotations": {"c": "d", "bad": None},
    },
    "spec": {
        "caConfigurationName": "blue",
        "request": "PEM",
        "serviceAccountName": "web",
        "requester": "jane",
        "ttl": "1h",
        "dnsNames": ["a", 1],
        "ipAddresses": ["10.0.0.1"],
        "privateKey": {"algorithm": "RSA", "size": 2048},
        "renewal": "Automatic",
    },
    "status": {
        "state": "Issued",
        "certificateChain": "CHAIN",
        "renewAt": "2030-01-02T00:00:00Z",
        "observedGeneration": 2,
        "conditions": [
            "odd",
            {"type": "Other", "status": "False"},
            {
                "type": "Ready",
                "status": "True",
                "reason": "Issued",
                "message": "m",
                "lastTransitionTime": "2030-01-01T12:00:01Z",
            },
        ],
    },
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_leaf_is_projected() -> None:
    view = leaf_view(BODY)
    assert view.meta == Meta("web", "shop", "u1", "7", 2, datetime(2030, 1, 1, 12, tzinfo=UTC), deleting=True)
    assert view.key == ("shop", "web")
    assert view.spec.configuration == "blue"
    assert view.spec.dns_names == ("a",)
    assert (view.spec.key_algorithm, view.spec.key_size) == ("RSA", 2048)
    assert view.spec.automatic
    assert not view.spec.managed
    assert (view.state, view.reason, view.ready, view.message) == ("Issued", "Issued", "True", "m")
    assert view.renew_at == datetime(2030, 1, 2, tzinfo=UTC)
    assert (view.chain, view.chain_digest) == ("CHAIN", views.chain_digest("CHAIN"))


def test_absent_parts_have_their_meaning() -> None:
    view = leaf_view({"metadata": {"name": "web"}})
    assert view.spec.configuration == "default"
    assert not view.spec.automatic
    assert (view.chain, view.chain_digest, view.issued, view.renew_at) == ("", "", None, None)
    assert view.meta.created is None
    assert not view.meta.deleting


def test_managed_request_is_always_automatic() -> None:
    view = leaf_view({"spec": {"secretName": "s", "renewal": "Manual"}})
    assert view.spec.managed
    assert view.spec.automatic


def test_labels_and_annotations_of_the_wrong_type_are_left_out() -> None:
    assert views.labels_of(BODY) == {"a": "b"}
    assert views.annotations_of(BODY) == {"c": "d"}


def test_condition_is_found_by_type_or_is_empty() -> None:
    assert views.condition(BODY, "Ready")["message"] == "m"
    assert views.condition(BODY, "Absent") == {}
    assert views.condition({"status": {"conditions": "odd"}}, "Ready") == {}


def test_verified_facts_are_carried_over_for_the_same_chain_only() -> None:
    known = leaf_view(BODY).with_issued(facts_of())
    assert (known.chain, known.issued) == ("", facts_of())
    assert leaf_view(BODY, known).issued == facts_of()
    assert leaf_view(BODY, known).chain == ""
    other = {**BODY, "status": {**BODY["status"], "certificateChain": "OTHER"}}
    assert leaf_view(other, known).issued is None
    assert leaf_view(other, known).chain == "OTHER"
    lost = {**BODY, "status": {}}
    assert leaf_view(lost, known).issued is None


@pytest.mark.parametrize("text", ["", "now", "2030-13-01T00:00:00Z", "2030-01-01"])
def test_what_is_no_time_is_read_as_none(text: str) -> None:
    assert views.read_time(text) is None


@given(st.dictionaries(st.sampled_from(["metadata", "spec", "status"]), JSON))
def test_no_body_raises(body: dict[str, Any]) -> None:
    leaf_view(body)


_SPEC = st.fixed_dictionaries(
    {"request": st.text(min_size=1)},
    optional={
        key: JSON | st.text()
        for key in ("serviceAccountName", "ttl", "dnsNames", "ipAddresses", "privateKey")
    },
) | st.fixed_dictionaries(
    {"secretName": st.text(min_size=1)}, optional={"privateKey": JSON, "ttl": st.text()}
)
_STATUS = st.fixed_dictionaries(
    {"state": st.sampled_from(["Pending", "Failed", "Renew", "odd"]), "observedGeneration": st.just(1)},
    optional={
        "certificateChain": st.text(),
        "renewAt": st.text(),
        "conditions": st.lists(JSON, max_size=3),
    },
)


@given(
    _SPEC,
    _STATUS | st.just({}),
    st.sampled_from([authority(), UNAVAILABLE]),
    st.sampled_from([None, OUT_OF_FORCE]),
)
def test_planner_never_raises_whatever_stands_in_a_request(
    spec: dict[str, Any], status: dict[str, Any], who: Any, admission: Any
) -> None:
    view = leaf_view(
        {"metadata": BODY["metadata"] | {"deletionTimestamp": ""}, "spec": spec, "status": status}
    )
    around = {"authority": who} | ({"admission": admission} if admission else {})
    plan = plan_leaf(snapshot(view, **around))
    assert isinstance(plan, LeafPlan)
    assert sum((plan.issue is not None, plan.report is not None, bool(plan.remove))) <= 1


def test_a_spec_is_shared_within_a_generation_and_read_anew_after_it() -> None:
    spec = {"serviceAccountName": "web", "request": "a"}
    metadata = {"name": "web", "namespace": "shop", "uid": "u", "generation": 1, "resourceVersion": "1"}
    known = leaf_view({"metadata": metadata, "spec": spec})
    assert (
        leaf_view({"metadata": metadata | {"resourceVersion": "2"}, "spec": dict(spec)}, known).spec
        is known.spec
    )
    for news in ({"generation": 2}, {"uid": "v"}):
        other = leaf_view({"metadata": metadata | news, "spec": spec | {"request": "b"}}, known)
        assert other.spec.request == "b"
