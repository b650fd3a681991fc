"""Which chain has a path to which bundle, without any certificate."""

from __future__ import annotations

import pytest

from e2e.interop.situations import (
    ENDED,
    ENVOY,
    GNUTLS,
    GO,
    NEW,
    OLD,
    OLD_BY_OLDER,
    OLDER,
    OPENSSL,
    QUADRANTS,
    REFUSED_BY,
    SECTIONS,
    Pair,
    Situation,
    expected,
    pairs,
    settled,
)


@pytest.mark.parametrize(
    ("situation", "accepted"),
    [
        (Situation(OLD, (), (OLD,)), True),
        (Situation(OLD, (), (NEW,)), False),
        (Situation(OLD, (OLD,), (NEW,)), False),
        (Situation(NEW, (), (OLD,)), False),
        (Situation(NEW, (OLD,), (OLD,)), True),
        (Situation(NEW, (OLD,), (OLDER,)), False),
        (Situation(NEW, (OLD, OLD_BY_OLDER), (OLDER,)), True),
        (Situation(NEW, (ENDED,), (ENDED,)), False),
        (Situation(NEW, (ENDED,), (ENDED, NEW)), True),
    ],
    ids=str,
)
def test_a_path_goes_over_what_is_served_to_a_live_root_of_the_bundle(
    situation: Situation, accepted: bool
) -> None:
    assert situation.accepted is accepted


def test_every_quadrant_is_there_once() -> None:
    assert len(set(QUADRANTS)) == 12
    assert {(s.leaf, bool(s.crosses), s.bundle) for s in QUADRANTS} == {
        (leaf, crossed, bundle)
        for leaf in (OLD, NEW)
        for crossed in (False, True)
        for bundle in ((OLD,), (OLD, NEW), (NEW,))
    }


def test_every_main_kind_is_followed_by_every_main_kind() -> None:
    main = ("ECDSA 256", "RSA 2048", "Ed25519")
    assert {Pair(old, new) for old in main for new in main} <= set(pairs())
    assert len(set(pairs())) == len(pairs()) == 15


def test_nobody_differs_about_the_quadrants_and_only_where_there_is_a_path() -> None:
    assert not REFUSED_BY.keys() & set(QUADRANTS)
    assert all(situation.accepted for situation in REFUSED_BY)
    assert REFUSED_BY.keys() <= {situation for section in SECTIONS.values() for situation in section}


def test_a_validator_that_follows_the_first_cross_certificate_misses_the_second() -> None:
    second = Situation(NEW, (OLD, OLDER), (OLDER,))
    assert [expected(name, second) for name in (GO, OPENSSL, ENVOY)] == [True, False, False]


def test_only_gnutls_is_unsettled_and_only_where_it_differs() -> None:
    second = Situation(NEW, (OLD, OLDER), (OLDER,))
    assert not settled(GNUTLS, second)
    assert settled(ENVOY, second)
    assert settled(GNUTLS, QUADRANTS[0])
