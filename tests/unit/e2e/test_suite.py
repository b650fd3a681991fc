"""The verdict of ``make test`` is that of its tiers."""

from __future__ import annotations

from collections import Counter

import pytest

from e2e import suite
from e2e.suite import Section


def heard(*lines: str, code: int = 0) -> Section:
    section = Section("tier", code, 1.0)
    for line in lines:
        section.hear(line)
    return section


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("========= 12 passed in 3.04s =========", {"passed": 12}),
        ("12 passed, 2 skipped in 61.04s (0:01:01)", {"passed": 12, "skipped": 2}),
        (
            "\x1b[31m= \x1b[1m1 failed\x1b[0m, 3 passed, 2 errors in 1.00s =\x1b[0m",
            {"failed": 1, "passed": 3, "error": 2},
        ),
        ("= 1 xfailed, 4 warnings in 0.10s =", {"xfailed": 1, "warnings": 4}),
        ("the build passed in 3.0s", {}),
        ("5 passed so far", {}),
    ],
)
def test_counts_come_from_the_closing_line_only(line: str, counts: dict[str, int]) -> None:
    assert heard(line).counts == Counter(counts)


def test_the_verdict_adds_up_and_reads_like_a_closing_line(capsys: pytest.CaptureFixture[str]) -> None:
    tiers = [heard("= 10 passed, 1 skipped in 2.00s ="), heard("= 5 passed in 1.00s ="), Section("lint")]
    assert suite.report(tiers, 3725.5) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.strip("= ") == "15 passed, 1 skipped in 3725.50s (1:02:05)"
    assert last.startswith("===")


def test_a_failed_tier_fails_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    tiers = [heard("= 1 failed, 9 passed in 2.00s =", code=1), heard("= 5 passed in 1.00s =")]
    assert suite.report(tiers, 3) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].strip("= ").startswith("1 failed, 14 passed in")
    assert "failed sections: tier" in lines


def test_a_section_without_tests_that_fails_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert suite.report([Section("lint", 1), heard("= 5 passed in 1.00s =")], 3) == 1
    assert capsys.readouterr().out.splitlines()[-1].strip("= ").startswith("5 passed, 1 error in")


def test_a_flavour_that_could_not_run_is_named_in_the_last_lines(capsys: pytest.CaptureFixture[str]) -> None:
    line = "NOT RUN: flavour node: needs root"
    suite.report([heard(line, "= 5 skipped in 1.00s =")], 3)
    assert line in capsys.readouterr().out.splitlines()[-2:]


def test_a_run_without_any_test_does_not_look_like_success() -> None:
    assert suite.verdict(Counter(), failed=False, seconds=1).startswith("no tests ran in")
