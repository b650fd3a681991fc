"""An entry of the build cache is whole or absent, and built once."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from e2e import cache
from e2e.errors import HarnessError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_an_entry_is_built_once_and_found_again(tmp_path: Path) -> None:
    built: list[Path] = []

    def build(directory: Path) -> None:
        built.append(directory)
        (directory / "file").write_text("content")

    first = cache.entry("thing-1", "abc", build)
    assert cache.entry("thing-1", "abc", build) == first == tmp_path / "meshca" / "thing-1-abc"
    assert (first / "file").read_text() == "content"
    assert len(built) == 1


def test_another_recipe_is_another_entry() -> None:
    assert cache.entry("thing", "a", lambda _: None) != cache.entry("thing", "b", lambda _: None)
    assert cache.digest("ab", "c") != cache.digest("a", "bc")


def test_a_failed_build_leaves_nothing_and_the_next_one_starts_afresh(tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        (directory / "half").touch()
        raise HarnessError("no")

    with pytest.raises(HarnessError):
        cache.entry("thing", "a", fail)
    assert [path for path in (tmp_path / "meshca").iterdir() if path.is_dir()] == []
    assert list(cache.entry("thing", "a", lambda _: None).iterdir()) == []


def test_what_a_killed_build_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    left = tmp_path / "meshca" / ".thing-a.left"
    other = tmp_path / "meshca" / ".thing-b.busy"
    for directory in (left, other):
        directory.mkdir(parents=True)
    cache.entry("thing", "a", lambda _: None)
    assert (left.exists(), other.exists()) == (False, True)


def test_two_at_once_build_one_entry() -> None:
    built: list[int] = []
    inside = threading.Event()

    def build(_: Path) -> None:
        built.append(1)
        inside.wait(5)

    both = [threading.Thread(target=cache.entry, args=("thing", "a", build)) for _ in range(2)]
    for thread in both:
        thread.start()
    inside.set()
    for thread in both:
        thread.join()
    assert built == [1]


def test_a_command_that_fails_shows_the_end_of_its_output() -> None:
    with pytest.raises(HarnessError, match=r"exit 3\nthe reason"):
        cache.run([sys.executable, "-c", "print('the reason'); raise SystemExit(3)"], label="x")


def test_a_command_answers_what_it_printed() -> None:
    script = "import sys; print('out'); print('err', file=sys.stderr)"
    assert cache.run([sys.executable, "-c", script], label="x", quiet=True) == "out\n"
    assert sorted(cache.run([sys.executable, "-c", script], label="x").split()) == ["err", "out"]


def test_a_long_command_says_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    heard = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        heard.set()

    def slow(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        assert heard.wait(5)
        return subprocess.CompletedProcess([], 0)

    monkeypatch.setattr(cache, "say", say)
    monkeypatch.setattr(cache, "HEARTBEAT", 0.001)
    monkeypatch.setattr(subprocess, "run", slow)
    cache.run(["slow"], label="the build")
    assert said[0].startswith("the build: 0 s")
