"""Delays between attempts."""

from __future__ import annotations

import random

from meshca.kube.backoff import Backoff


def test_delays_double_up_to_the_cap_within_the_upper_half() -> None:
    backoff = Backoff(1.0, 8.0, random.Random(1))
    spans = [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    delays = [backoff.next() for _ in spans]
    assert all(span / 2 <= delay <= span for span, delay in zip(spans, delays, strict=True))
    assert len(set(delays)) == len(delays), "jitter"


def test_a_success_begins_again() -> None:
    backoff = Backoff(1.0, 64.0)
    for _ in range(6):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= 1.0


def test_the_server_is_given_the_time_it_asked_for() -> None:
    assert Backoff(1.0, 2.0).next(at_least=30.0) == 30.0
