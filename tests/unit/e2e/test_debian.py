"""Debian packages: which ones a set of programs needs, and which of their files are kept."""

from __future__ import annotations

import io
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from e2e import debian, image
from e2e.errors import CannotRunError, HarnessError

if TYPE_CHECKING:
    from pathlib import Path

DEPENDS = """\
runtime
  PreDepends: base
 |Depends: first-choice
  Depends: second-choice
  Depends: <virtual>
    provider
  Depends: lib
<virtual>
base
lib
  Depends: base
first-choice
second-choice
"""


def test_of_alternatives_the_first_is_needed_and_virtual_packages_are_left_out() -> None:
    graph = dict(debian.parse_depends(DEPENDS))
    assert graph["runtime"] == ["base", "first-choice", "lib"]
    assert graph["lib"] == ["base"]
    assert set(graph) == {"runtime", "base", "lib", "first-choice", "second-choice"}


@pytest.mark.parametrize(
    ("prune", "expected"),
    [
        ((), {"a", "b", "c-1", "d"}),
        (("b",), {"a", "c-1"}),
        (("c-*",), {"a", "b", "d"}),
        (("a",), {"a", "b", "c-1", "d"}),
    ],
    ids=["all", "with what only it needs", "by pattern", "never a root"],
)
def test_what_is_reachable_without_the_pruned(prune: tuple[str, ...], expected: set[str]) -> None:
    graph = {"a": ["b", "c-1"], "b": ["d"], "d": ["a"]}
    assert debian.reachable(graph, ["a"], prune) == expected


def test_an_offer_has_name_version_and_digest() -> None:
    line = f"'http://mirror/p/runc_1%2b2_amd64.deb' runc_1%3a1.5+ds1-1_amd64.deb 42 SHA256:{'a' * 64}"
    found = debian.parse_uri(line)
    assert found == debian.Package("runc", "1:1.5+ds1-1", "runc_1%3a1.5+ds1-1_amd64.deb", 42, "a" * 64)
    assert debian.parse_uri("Reading package lists...") is None


def test_without_apt_the_machine_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotRunError, match="apt-get is missing"):
        debian.Apt(tmp_path).packages(["runc"])


def test_a_download_that_is_not_what_the_list_says_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        (tmp_path / "x_1_all.deb").write_bytes(b"other")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", fake)
    package = debian.Package("x", "1", "x_1_all.deb", 5, "0" * 64)
    with pytest.raises(HarnessError, match=r"x_1_all\.deb is not what the package list says"):
        debian.Apt(tmp_path / "state").download([package], tmp_path)


def test_unpacking_keeps_what_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = tmp_path / "data.tar"
    with tarfile.open(content, "w") as tar:
        for name in ("./usr/bin/kept", "./usr/share/doc/left-out"):
            member = tarfile.TarInfo(name)
            member.size = 1
            tar.addfile(member, io.BytesIO(b"x"))
    program = tmp_path / "dpkg-deb"
    program.write_text(f"#!/bin/sh\ncat {content}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    root = tmp_path / "root"
    debian.unpack([tmp_path / "x.deb"], root, lambda path: path.startswith("usr/bin"))
    assert [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()] == ["usr/bin/kept"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("usr/bin/python3.11", True),
        ("usr/bin/dash", False),
        ("bin/sh", False),
        ("usr/lib/python3.11/json/decoder.py", True),
        ("usr/lib/python3.11/test/libregrtest/main.py", False),
        ("usr/lib/python3.11/lib-dynload/_sqlite3.cpython-311-x86_64-linux-gnu.so", False),
        ("usr/share/doc/libc6/copyright", True),
        ("usr/share/doc/libc6/changelog.gz", False),
        ("lib/x86_64-linux-gnu/libc.so.6", True),
    ],
)
def test_the_image_has_python_and_licences_but_no_shell(path: str, expected: bool) -> None:
    assert image.wanted(path) is expected


def test_the_images_python_is_the_one_among_the_packages() -> None:
    packages = [debian.Package(name, "1", "", 0, "") for name in ("python3-minimal", "python3.12-minimal")]
    assert image.python_version(packages) == "3.12"
    with pytest.raises(HarnessError):
        image.python_version(packages[:1])
