"""Names every validator that could not be asked, so that nobody takes silence for agreement."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from e2e.interop import run

if TYPE_CHECKING:
    from e2e.interop.run import Run


@pytest.fixture(scope="session")
def found() -> Run:
    """Return what every validator of this machine says, asked once."""
    return run.everything()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which validators are missing here and why."""
    for name, reason in run.left_out.items():
        failure = " (with CI=true that is a failure)" if os.environ.get("CI") == "true" else ""
        terminalreporter.write_line(f"NOT RUN: validator {name}: {reason}{failure}", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run in CI when a validator was left out."""
    if os.environ.get("CI") == "true" and run.left_out and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
