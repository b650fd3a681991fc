"""The command: what it prints and how it exits."""

from __future__ import annotations

import json
import logging
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from meshca import __version__
from meshca.__main__ import main
from meshca.errors import MisconfiguredError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from meshca.config import Settings

FLAGS = ["--namespace=meshca-system", "--pod-name=meshca-0", "--service-account=meshca"]


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Settings], int]], None]:
    def put(run: Callable[[Settings], int]) -> None:
        runtime: Any = ModuleType("meshca.runtime")
        runtime.run = run
        monkeypatch.setitem(sys.modules, "meshca.runtime", runtime)

    return put


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"meshca-operator {__version__}\n"


def test_a_wrong_setting_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--workers=0", *FLAGS]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("meshca-operator: --workers (MESHCA_WORKERS): ")
    assert len(output.err.splitlines()) == 1


@pytest.mark.parametrize("code", [0, 1])
def test_the_runtime_decides_the_exit_code(runs: Any, code: int) -> None:
    seen: list[Settings] = []

    def run(settings: Settings) -> int:
        seen.append(settings)
        return code

    runs(run)
    assert main(FLAGS) == code
    assert seen[0].namespace == "meshca-system"


@pytest.mark.parametrize(
    ("error", "code", "trace"),
    [(MisconfiguredError("install the CRDs first"), 2, False), (RuntimeError("bug"), 1, True)],
)
def test_errors_become_an_exit_code_and_one_log_line(
    runs: Any, capsys: pytest.CaptureFixture[str], error: Exception, code: int, trace: bool
) -> None:
    def run(_: Settings) -> int:
        raise error

    runs(run)
    assert main(FLAGS) == code
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["level"] for line in lines] == ["info", "error"]
    assert str(error) in lines[1].get("exception", "") + lines[1]["message"]
    assert ("exception" in lines[1]) == trace
