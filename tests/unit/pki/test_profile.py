"""Lifetimes: bounds, and what a requester may choose."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshca.errors import DeniedError, InvalidError
from meshca.pki.profile import LeafProfile, Profiles, RootProfile, SignerProfile, hours

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


def test_001_the_defaults_of_the_api_fit_together() -> None:
    Profiles(RootProfile(87600 * HOUR), SignerProfile(8760 * HOUR), LeafProfile(72 * HOUR, 72 * HOUR))


@pytest.mark.parametrize(
    ("ttl", "max_ttl", "message"),
    [
        pytest.param(HOUR - SECOND, HOUR, "leaf.ttl 59m59s is less than 1h", id="003"),
        pytest.param(365 * DAY + SECOND, 366 * DAY, "leaf.ttl 8760h1s is more than 8760h", id="004"),
        pytest.param(HOUR, 365 * DAY + SECOND, "leaf.maxTTL 8760h1s is more than 8760h", id="004 max"),
        pytest.param(2 * HOUR, HOUR, "leaf.maxTTL 1h is less than 2h", id="crossed"),
    ],
)
def test_a_leaf_outside_the_bounds_is_refused(ttl: timedelta, max_ttl: timedelta, message: str) -> None:
    with pytest.raises(InvalidError) as caught:
        LeafProfile(ttl, max_ttl)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("profile", "ttl", "message"),
    [
        pytest.param(SignerProfile, 3 * HOUR - SECOND, "intermediate.ttl 2h59m59s is less than 3h", id="006"),
        pytest.param(
            SignerProfile, 36526 * DAY, "intermediate.ttl 876624h is more than 876600h", id="century"
        ),
        pytest.param(RootProfile, HOUR, "root.ttl 1h is less than 3h", id="short root"),
        pytest.param(RootProfile, 36526 * DAY, "root.ttl 876624h is more than 876600h", id="long root"),
    ],
)
def test_a_ca_outside_the_bounds_is_refused(
    profile: type[SignerProfile | RootProfile], ttl: timedelta, message: str
) -> None:
    with pytest.raises(InvalidError) as caught:
        profile(ttl)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("root", "signer", "leaf", "message"),
    [
        pytest.param(100, 8, 3, "intermediate.ttl 8h is less than 9h, 3 times leaf.maxTTL", id="005"),
        pytest.param(9, 10, 3, "root.ttl 9h is less than intermediate.ttl 10h", id="007"),
    ],
)
def test_each_kind_must_fit_into_the_one_above(root: int, signer: int, leaf: int, message: str) -> None:
    with pytest.raises(InvalidError) as caught:
        Profiles(RootProfile(root * HOUR), SignerProfile(signer * HOUR), LeafProfile(HOUR, leaf * HOUR))
    assert caught.value.message == message


def test_the_bounds_themselves_are_allowed() -> None:
    Profiles(RootProfile(9 * HOUR), SignerProfile(9 * HOUR), LeafProfile(HOUR, 3 * HOUR))
    LeafProfile(365 * DAY, 365 * DAY)
    RootProfile(36525 * DAY)


def test_a_requester_chooses_within_the_bounds() -> None:
    profile = LeafProfile(2 * HOUR, 5 * HOUR)
    assert profile.choose(None) == 2 * HOUR
    assert profile.choose(HOUR) == HOUR
    assert profile.choose(5 * HOUR) == 5 * HOUR


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (5 * HOUR + SECOND, "ttl 5h1s is more than the allowed 5h"),
        (30 * SECOND, "ttl 30s is less than the allowed 1h"),
        (timedelta(0), "ttl 0s is less than the allowed 1h"),
    ],
)
def test_a_requester_does_not_choose_outside_them(wanted: timedelta, message: str) -> None:
    with pytest.raises(DeniedError) as caught:
        LeafProfile(2 * HOUR, 5 * HOUR).choose(wanted)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("value", "text"),
    [(72 * HOUR, "72h"), (90 * SECOND, "1m30s"), (HOUR + 90 * SECOND, "1h1m30s"), (timedelta(0), "0s")],
)
def test_durations_are_written_as_go_writes_them(value: timedelta, text: str) -> None:
    assert hours(value) == text
