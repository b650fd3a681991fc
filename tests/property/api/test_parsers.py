"""No text crashes a parser of the API with anything but its own error."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from meshca.api.v1alpha1 import (
    KINDS,
    LeafCertificateRequestStatus,
    Object,
    Selector,
    format_duration,
    format_time,
    parse_duration,
    parse_time,
)
from meshca.errors import InvalidError

LONGEST = timedelta(hours=999999)
DURATION_LIKE = st.text(alphabet="0123456789hmsd.+- \n", max_size=40)
LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"))
REQUIREMENT = st.fixed_dictionaries(
    {"key": st.sampled_from("abcd"), "operator": st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"])},
    optional={"values": st.lists(st.sampled_from("xyz"), max_size=3)},
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@given(st.timedeltas(min_value=timedelta(0), max_value=LONGEST))
def test_durations_survive_being_written_and_read(value: timedelta) -> None:
    whole = timedelta(seconds=int(value.total_seconds()))
    assert parse_duration(format_duration(value)) == whole


@given(DURATION_LIKE | st.text(max_size=40))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        value = parse_duration(text)
    except ValueError:
        return
    assert timedelta(0) <= value < 2 * LONGEST


@given(st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  hypothesis wants it
def test_times_survive_being_written_and_read(value: datetime) -> None:
    assert parse_time(format_time(value)) == value.replace(microsecond=0)


@given(st.text(alphabet="0123456789-:TZ+.", max_size=30) | st.text(max_size=30))
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    try:
        value = parse_time(text)
    except ValueError:
        return
    assert value.tzinfo is UTC


@given(LABELS, st.lists(REQUIREMENT, max_size=3), LABELS)
def test_selectors_match_when_every_part_does(
    wanted: dict[str, str], requirements: list[dict[str, Any]], labels: dict[str, str]
) -> None:
    try:
        selector = Selector.read({"matchLabels": wanted, "matchExpressions": requirements})
    except InvalidError:
        return
    parts = [Selector.read({"matchLabels": {k: v}}) for k, v in wanted.items()]
    parts += [Selector.read({"matchExpressions": [r]}) for r in requirements]
    assert selector.matches(labels) == all(part.matches(labels) for part in parts)


@given(st.sampled_from(KINDS), JSON_VALUES, JSON_VALUES, JSON_VALUES)
def test_any_object_is_read_or_refused_with_our_error(
    kind: type[Object], metadata: Any, spec: Any, status: Any
) -> None:
    with suppress(InvalidError):
        kind.from_object({"metadata": metadata, "spec": spec, "status": status})


@given(st.dictionaries(st.sampled_from(["state", "notAfter", "conditions", "root", "spiffeID"]), JSON_VALUES))
def test_any_status_is_read_and_written_in_a_form_that_is_read_back_equal(status: dict[str, Any]) -> None:
    read = LeafCertificateRequestStatus.read(status)
    assert LeafCertificateRequestStatus.read(read.to_dict()) == read
