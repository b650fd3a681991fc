"""A status that strangers wrote is read without a crash, and ours is written without noise."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from meshca.api.v1alpha1 import (
    KINDS,
    CAConfigurationStatus,
    Condition,
    LeafCertificateRequest,
    LeafCertificateRequestStatus,
    LeafState,
    Metadata,
    Object,
    RootState,
    RotationPhase,
)
from meshca.api.v1alpha1.caroot import CARootStatus
from meshca.api.v1alpha1.castatus import RotationStatus

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
SPEC = {"serviceAccountName": "cart", "secretName": "cart-tls"}
NONSENSE: list[Any] = [
    None,
    0,
    -1,
    1.5,
    True,
    "x",
    "",
    [],
    [[]],
    [None],
    {},
    {"a": {"b": []}},
    "2030-99-01T00:00:00Z",
]


def fields(kind: type[Object]) -> list[str]:
    status = kind.model_fields["status"].annotation
    assert isinstance(status, type)
    return [field.alias for field in status.model_fields.values()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("nonsense", NONSENSE, ids=repr)
def test_nonsense_in_any_status_field_counts_as_absent(kind: type[Object], nonsense: Any) -> None:
    status = kind.model_fields["status"].annotation
    assert isinstance(status, type)
    read = status.read(dict.fromkeys(fields(kind), nonsense))
    assert isinstance(read, status)
    read.to_dict()


def test_a_good_field_beside_nonsense_is_kept() -> None:
    leaf = LeafCertificateRequest.from_object(
        {
            "spec": SPEC,
            "status": {"state": "Dancing", "notAfter": "2030-01-31T12:00:00Z", "conditions": "none", "x": 1},
        }
    )
    assert (leaf.status.state, leaf.status.not_after, leaf.status.conditions) == (None, NOW, ())


@pytest.mark.parametrize("status", [None, "x", 1, [], [1]])
def test_a_status_that_is_no_object_is_empty(status: Any) -> None:
    leaf = LeafCertificateRequest.from_object({"spec": SPEC, "status": status})
    assert leaf.status == LeafCertificateRequestStatus()


def test_conditions_without_type_or_time_are_dropped() -> None:
    good = {"type": "Ready", "status": "True", "lastTransitionTime": "2030-01-31T12:00:00Z"}
    read = LeafCertificateRequestStatus.read(
        {"conditions": [good, {"type": 3}, {"type": "Ready"}, {"type": "X", "status": "Perhaps"}]}
    )
    assert [c.type for c in read.conditions] == ["Ready"]
    assert read.is_true("Ready")


def test_building_a_status_with_nonsense_is_a_mistake() -> None:
    with pytest.raises(ValidationError):
        LeafCertificateRequestStatus.model_validate({"state": "Dancing"})


def test_empty_fields_are_not_written_but_zeros_are() -> None:
    status = CAConfigurationStatus(rotation=RotationStatus(phase=RotationPhase.REISSUE, from_="a", to="b"))
    assert status.to_dict() == {
        "observedGeneration": 0,
        "bundle": {"sequence": 0, "targets": {"total": 0, "current": 0}},
        "rotation": {"phase": "Reissue", "from": "a", "to": "b", "leaves": 0, "reissued": 0, "percent": 0},
    }


def test_a_condition_is_written_whole_even_with_an_empty_message() -> None:
    status = LeafCertificateRequestStatus(
        state=LeafState.ISSUED,
        conditions=(Condition(type="Ready", status="True", reason="Issued", last_transition_time=NOW),),
    )
    assert status.to_dict()["conditions"] == [
        {
            "type": "Ready",
            "status": "True",
            "observedGeneration": 0,
            "lastTransitionTime": "2030-01-31T12:00:00Z",
            "reason": "Issued",
            "message": "",
        }
    ]


def test_what_is_written_is_read_back_equal() -> None:
    status = CARootStatus(state=RootState.RETIRING, activated_at=NOW, leaves=3, cross_certificates=("x",))
    assert CARootStatus.read(status.to_dict()) == status


def test_metadata_of_any_shape_is_read() -> None:
    meta = Metadata.read(
        {"name": "a", "labels": {"x": 1}, "finalizers": "no", "ownerReferences": [{"uid": "u"}]}
    )
    assert (meta.name, meta.labels, meta.finalizers) == ("a", {}, ())
    assert meta.owner_references[0].uid == "u"
