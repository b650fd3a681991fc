"""Programs of the harness start, end and leave nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from e2e import guardian, processes
from e2e.errors import HarnessError
from e2e.processes import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WAITING = "import signal, sys; print('up', flush=True); signal.pause()"
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[[str], Process]]:
    made: list[Process] = []

    def start(script: str) -> Process:
        process = Process("program", [sys.executable, "-c", script], tmp_path / "log", env={})
        made.append(process)
        process.start()
        return process

    yield start
    for process in made:
        process.kill()


def up(process: Process) -> Process:
    process.wait_until(lambda: "up" in process.tail(), 10)
    return process


def test_a_clean_end_is_a_sigterm(program: Callable[[str], Process]) -> None:
    process = up(program(WAITING))
    assert process.alive
    assert process.stop() == -signal.SIGTERM
    assert not process.alive
    assert process.stop() == 0


def test_what_ignores_sigterm_is_killed(program: Callable[[str], Process]) -> None:
    assert up(program(STUBBORN)).stop(timeout=0.05) == -signal.SIGKILL


def test_a_frozen_program_can_be_ended_cleanly(program: Callable[[str], Process]) -> None:
    process = up(program(WAITING))
    process.send(signal.SIGSTOP)
    assert process.stop() == -signal.SIGTERM


def test_a_program_that_dies_is_told_with_the_end_of_its_log(program: Callable[[str], Process]) -> None:
    process = program("raise SystemExit('the reason')")
    with pytest.raises(HarnessError, match=r"exit 1\)\nthe reason"):
        process.wait_until(lambda: False, 10)


def test_a_program_that_is_not_ready_in_time_is_told(program: Callable[[str], Process]) -> None:
    with pytest.raises(HarnessError, match="not ready after"):
        program(WAITING).wait_until(lambda: False, 0.01)


def test_it_starts_again_after_its_end_but_never_twice(program: Callable[[str], Process]) -> None:
    process = up(program(WAITING))
    with pytest.raises(HarnessError, match="runs already"):
        process.start()
    process.kill()
    process.start()
    assert process.alive


def test_waiting_for_its_end_has_a_limit(program: Callable[[str], Process]) -> None:
    process = up(program(WAITING))
    with pytest.raises(TimeoutError):
        process.wait(0.01)
    assert program("pass").wait(10) == 0


def test_no_port_and_no_address_is_given_twice() -> None:
    ports = [processes.free_port() for _ in range(20)]
    assert len({*ports}) == 20
    addresses = [processes.free_address(8080) for _ in range(20)]
    assert len({*addresses}) == 20
    assert all(address.startswith("127.") for address in addresses)


def test_a_run_directory_is_private_and_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    directory = processes.run_directory("x")
    assert directory.parent == tmp_path
    assert directory.stat().st_mode & 0o777 == 0o700
    processes.remove_directory(directory)
    assert not directory.exists()


def test_the_guardian_ends_what_was_not_taken_back(tmp_path: Path) -> None:
    kept, removed = tmp_path / "kept", tmp_path / "removed"
    for directory in (kept, removed):
        directory.mkdir()
    sleepers = [
        subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, start_new_session=True)
        for _ in range(2)
    ]
    for sleeper in sleepers:
        assert sleeper.stdout is not None
        assert sleeper.stdout.readline() == b"up\n"
        sleeper.stdout.close()
    first, second = (sleeper.pid for sleeper in sleepers)
    told = f"+ {first}\n+ {second}\n- {second}\nd {kept}\nd {removed}\nu {kept}\n"
    with subprocess.Popen(
        [sys.executable, "-I", "-S", guardian.__file__], stdin=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdin is not None
        watching.stdin.write(told)
        watching.stdin.close()
        # The guardian waits until what it killed is gone, which here we ourselves have to see to.
        assert sleepers[0].wait(10) == -signal.SIGKILL
        assert watching.wait(10) == 0
    assert sleepers[1].poll() is None
    assert (kept.exists(), removed.exists()) == (True, False)
    sleepers[1].kill()
    sleepers[1].wait(10)
