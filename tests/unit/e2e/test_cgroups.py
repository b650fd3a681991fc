"""Control groups: made ready in every hierarchy and removed from the inside out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.errors import HarnessError
from e2e.node import cgroups

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    """Make a machine with both versions: cpuset and memory of version 1, and the unified hierarchy."""
    lines = ["proc /proc proc rw 0 0"]
    for name, kind in (("cpuset", "cgroup"), ("memory", "cgroup"), ("unified", "cgroup2")):
        (tmp_path / name).mkdir()
        lines.append(f"{kind} {tmp_path / name} {kind} rw 0 0")
    (tmp_path / "cpuset" / "cpuset.cpus").write_text("0-1\n")
    (tmp_path / "cpuset" / "cpuset.mems").write_text("0\n")
    (tmp_path / "unified" / "cgroup.controllers").write_text("cpu memory\n")
    file = tmp_path / "mounts"
    file.write_text("\n".join(lines))
    return file


def test_every_hierarchy_of_either_version_is_found(mounts: Path) -> None:
    assert [path.name for path in cgroups.hierarchies(mounts)] == ["cpuset", "memory", "unified"]


def test_a_new_group_has_processors_memory_and_controllers(mounts: Path, tmp_path: Path) -> None:
    made = cgroups.create("mine", mounts)
    assert made == [tmp_path / name / "mine" for name in ("cpuset", "memory", "unified")]
    assert (tmp_path / "cpuset" / "mine" / "cpuset.cpus").read_text() == "0-1\n"
    assert (tmp_path / "cpuset" / "mine" / "cpuset.mems").read_text() == "0\n"
    # A file keeps the last write only; the kernel takes each.
    assert (tmp_path / "unified" / "cgroup.subtree_control").read_text() == "+memory"


def test_groups_are_removed_with_all_below_them_and_others_stay(mounts: Path, tmp_path: Path) -> None:
    for name in ("mine/pods/one", "mine/pods/two", "other"):
        (tmp_path / "memory" / name).mkdir(parents=True)
    cgroups.remove("mine", mounts)
    assert cgroups.groups("mine", mounts) == []
    assert (tmp_path / "memory" / "other").is_dir()


def test_a_group_that_stays_in_use_is_an_error(
    mounts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What cannot be removed here is a folder with a file in it; in the kernel's, one with a process.
    (tmp_path / "memory" / "mine").mkdir()
    (tmp_path / "memory" / "mine" / "file").touch()
    monkeypatch.setattr(cgroups, "REMOVAL_SECONDS", 0.0)
    with pytest.raises(HarnessError, match=r"still in use: .*memory/mine"):
        cgroups.remove("mine", mounts)
