"""The verdict of ``make test`` is that of its tiers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
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


def test_what_failed_and_why_is_told_again_at_the_end_and_not_at_length(
    capsys: pytest.CaptureFixture[str],
) -> None:
    why = "FAILED e2e/leaves/test_issue.py::test_140 - TimeoutError: not so after 20 s; last seen: ["
    error = "ERROR tests/unit/test_a.py::test_b - OSError"
    suite.report([heard(why + 9000 * "x", error, "FAILED to make a pot of tea", code=1)], 3)
    lines = capsys.readouterr().out.splitlines()[-4:]
    assert lines[0].startswith(why)
    assert len(lines[0]) == suite.LONGEST
    assert lines[1] == error
    assert "failed sections" in lines[2]


def test_a_section_without_tests_that_fails_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert suite.report([Section("lint", 1), heard("= 5 passed in 1.00s =")], 3) == 1
    assert capsys.readouterr().out.splitlines()[-1].strip("= ").startswith("5 passed, 1 error in")


def test_a_flavour_that_could_not_run_is_named_in_the_last_lines(capsys: pytest.CaptureFixture[str]) -> None:
    line = "NOT RUN: flavour node: needs root"
    suite.report([heard(line, "= 5 skipped in 1.00s =")], 3)
    assert line in capsys.readouterr().out.splitlines()[-2:]


def test_a_run_without_any_test_does_not_look_like_success() -> None:
    assert suite.verdict(Counter(), failed=False, seconds=1).startswith("no tests ran in")


def test_a_section_is_a_target_of_the_makefile(capsys: pytest.CaptureFixture[str]) -> None:
    section = suite._run("words", ("help",))
    assert section.code == 0
    assert "test" in capsys.readouterr().out
    assert suite._run("words", ("no-such-target",)).code != 0


class Building:
    """A background build that has not ended until somebody waits for it."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.awaited = False

    def wait(self) -> int:
        self.awaited = True
        return self.code


def test_what_needs_the_builds_waits_for_them_and_a_failed_build_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    building = Building(1)
    order: list[tuple[str, bool]] = []

    def run(name: str, _: tuple[str, ...]) -> Section:
        order.append((name, building.awaited))
        return Section(name)

    monkeypatch.setattr(suite, "_background", lambda: building)
    monkeypatch.setattr(suite, "_end", lambda _: None)
    monkeypatch.setattr(suite, "_run", run)
    assert suite.main() == 1
    assert order == [(name, name in {"control plane", "node"}) for name, _ in suite.SECTIONS]
    assert "failed sections: builds" in capsys.readouterr().out


def test_an_interrupted_run_does_not_leave_the_build_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    # A build whose own child would go on by itself, as a compiler does.
    script = "import subprocess; subprocess.run(['sleep', '60'])"
    building = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)

    def interrupt(*_: object) -> Section:
        raise KeyboardInterrupt

    monkeypatch.setattr(suite, "_background", lambda: building)
    monkeypatch.setattr(suite, "_run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        suite.main()
    assert building.poll() == -signal.SIGTERM
    assert _ends(building.pid)


def _ends(group: int) -> bool:
    """Tell whether a process group that was signalled is gone within ten seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
    return False
