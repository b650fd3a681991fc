"""Which commit an upgrade comes from."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from e2e import released
from e2e.errors import CannotRunError

if TYPE_CHECKING:
    from pathlib import Path


def git(root: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository of three commits, the first of which is named as released."""
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    (tmp_path / ".ci").mkdir()
    for number in range(3):
        (tmp_path / "number").write_text(str(number))
        git(tmp_path, "add", "--all")
        git(tmp_path, "commit", "--quiet", f"--message={number}")
    (tmp_path / ".ci" / "released").write_text(git(tmp_path, "rev-parse", "HEAD~2") + "\n")
    return tmp_path


def test_before_the_first_tag_it_is_the_commit_that_is_named(root: Path) -> None:
    assert released.commit(root) == git(root, "rev-parse", "HEAD~2")


def test_the_newest_tag_before_this_commit_counts(root: Path) -> None:
    git(root, "tag", "v0.1.0", "HEAD~1")
    git(root, "tag", "v0.2.0", "HEAD")
    git(root, "tag", "other", "HEAD~1")
    assert released.commit(root) == git(root, "rev-parse", "HEAD~1")


def test_a_shallow_clone_is_told(root: Path) -> None:
    (root / ".ci" / "released").write_text("0123456789012345678901234567890123456789\n")
    with pytest.raises(CannotRunError, match="fetch all of it"):
        released.commit(root)


def test_its_files_are_those_of_that_commit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / "cache"))
    assert (released.tree(root) / "number").read_text() == "0"
