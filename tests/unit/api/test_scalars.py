"""Durations and times: what is read, what is written, what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from meshca.api.v1alpha1 import format_duration, format_time, parse_duration, parse_time
from meshca.api.v1alpha1.caconfiguration import Rotation
from meshca.api.v1alpha1.castatus import SignerStatus


@pytest.mark.parametrize(
    ("text", "seconds", "written"),
    [
        ("72h", 259200, "72h"),
        ("1h30m", 5400, "1h30m"),
        ("90s", 90, "1m30s"),
        ("72h0m0s", 259200, "72h"),
        ("1.5h", 5400, "1h30m"),
        ("0.9s", 0, "0s"),
        ("0s", 0, "0s"),
        ("999999h9999999m999999999s", 999999 * 3600 + 9999999 * 60 + 999999999, None),
    ],
)
def test_002_go_durations_are_read_to_the_second(text: str, seconds: int, written: str | None) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)
    if written is not None:
        assert format_duration(timedelta(seconds=seconds)) == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "72",
        "3d",
        "1w",
        "-1h",
        "+1h",
        "h",
        "1h ",
        " 1h",
        "1h\n",
        "1m1h",
        "1h1h",
        "PT72H",
        "1,5h",
        "1e3s",
        "٣h",
    ],
)
def test_durations_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration: write hours, minutes and seconds"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2030-01-31T12:00:00Z", datetime(2030, 1, 31, 12, tzinfo=UTC)),
        ("2030-01-31T12:00:00.999999999Z", datetime(2030, 1, 31, 12, tzinfo=UTC)),
        ("2030-01-31T12:00:00+02:00", datetime(2030, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_times_are_read_as_utc_in_whole_seconds(text: str, moment: datetime) -> None:
    assert parse_time(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2030-01-31",
        "2030-01-31T12:00:00",
        "2030-02-31T12:00:00Z",
        "2030-01-31T12:00:00Z\n",
        "0001-01-01T00:00:00+14:00",
    ],
)
def test_times_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="RFC 3339"):
        parse_time(text)


def test_times_are_written_in_utc_without_fractions() -> None:
    moment = datetime(2030, 1, 31, 12, 0, 0, 5, tzinfo=timezone(timedelta(hours=2)))
    assert format_time(moment) == "2030-01-31T10:00:00Z"


def test_a_model_takes_python_values_and_gives_back_api_values() -> None:
    moment = datetime(2030, 1, 31, 12, 0, 0, 5, tzinfo=UTC)
    assert SignerStatus(not_after=moment).to_dict() == {"notAfter": "2030-01-31T12:00:00Z"}
    assert Rotation(deadline=timedelta(minutes=90)).as_written() == {"deadline": "1h30m"}


@pytest.mark.parametrize("value", [5, None, datetime(2030, 1, 31)])  # noqa: DTZ001  that is the point
def test_a_model_refuses_a_time_without_a_zone_and_other_types(value: object) -> None:
    with pytest.raises(ValidationError):
        SignerStatus.model_validate({"notAfter": value if value is not None else []})
