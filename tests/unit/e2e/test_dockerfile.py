"""The Dockerfile: what can be said of it without a container engine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from e2e import image

ROOT = Path(__file__).parents[3]
FILE = ROOT / ".ci" / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """Return every instruction with its argument, continued lines joined."""
    lines = [line for line in FILE.read_text().splitlines() if line and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", "").splitlines()
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined]


def arguments(name: str) -> list[str]:
    return [argument for instruction, argument in instructions() if instruction == name]


def test_every_stage_is_from_the_base_that_can_be_chosen() -> None:
    assert instructions()[0][0] == "ARG"
    assert instructions()[0][1].startswith("BASE=")
    assert {stage.split()[0] for stage in arguments("FROM")} == {"${BASE}"}


def test_it_runs_the_operator_as_the_same_user_as_the_assembled_image() -> None:
    last_stage = FILE.read_text().rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.*)$", last_stage, re.MULTILINE) == [f"{image.USER}:{image.USER}"]
    assert arguments("ENTRYPOINT") == ['["meshca-operator"]']


def test_every_package_comes_with_a_hash_or_from_the_tree() -> None:
    commands = [part.strip() for run in arguments("RUN") for part in run.split("&&")]
    installs = [command for command in commands if " install " in command]
    assert len(installs) == 3
    for command in installs:
        hashed = "--require-hashes" in command and "--only-binary=:all:" in command
        assert hashed or "--no-index" in command
        # The lists are complete; a resolver may still look at versions that came out later, and fail.
        assert "--no-deps" in command


def test_no_file_is_copied_that_is_not_there_or_is_kept_out() -> None:
    allowed = (FILE.parent / "Dockerfile.dockerignore").read_text().splitlines()
    sources = [
        source for copy in arguments("COPY") if not copy.startswith("--from") for source in copy.split()[:-1]
    ]
    assert sources
    for source in sources:
        assert f"!{source}" in allowed
        if source != "README.md":
            assert (ROOT / source).exists()


@pytest.mark.parametrize("word", ["ADD ", "curl", "wget", "http://", "https://", "apt-get"])
def test_nothing_else_is_fetched(word: str) -> None:
    assert word not in FILE.read_text()
