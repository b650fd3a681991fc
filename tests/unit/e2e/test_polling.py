"""Waiting for what nothing announces."""

from __future__ import annotations

import pytest

from e2e import polling


def test_it_asks_until_the_answer_is_truthy_and_returns_it() -> None:
    answers = iter(["", "", "now"])
    assert polling.until(lambda: next(answers), "never", every=0) == "now"
    assert next(answers, None) is None


def test_it_asks_once_when_there_is_no_time_and_says_what_is_wrong() -> None:
    asked: list[int] = []
    with pytest.raises(TimeoutError, match=r"after -1 s: still closed"):
        polling.until(lambda: asked.append(1), "still closed", timeout=-1)
    assert asked == [1]


def test_a_complaint_is_asked_for_only_when_it_is_too_late() -> None:
    assert polling.until(lambda: True, pytest.fail)
    with pytest.raises(TimeoutError, match=r"\['a', 'b'\]"):
        polling.until(lambda: False, lambda: ["a", "b"], timeout=-1)
