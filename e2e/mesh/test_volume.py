"""Volumes change as a kubelet changes them: all files in one instant, nothing for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.mesh.volume import Volume, entries

if TYPE_CHECKING:
    from pathlib import Path


def test_all_files_change_by_one_link_and_the_old_ones_are_gone(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "volume")
    assert volume.write({"tls.crt": b"1", "tls.key": b"1"})
    data = volume.directory / "..data"
    first = data.resolve()
    assert (volume.directory / "tls.crt").readlink() == (data / "tls.crt").relative_to(volume.directory)
    assert volume.write({"tls.crt": b"2", "tls.key": b"2", "ca.crt": b"2"})
    assert {path.name: path.read_bytes() for path in volume.directory.glob("[!.]*")} == volume.files
    assert data.resolve() != first
    assert not first.exists()


def test_what_is_no_longer_there_goes(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "volume")
    volume.write({"tls.crt": b"1", "ca.crt": b"1"})
    volume.write({"tls.crt": b"1"})
    assert [path.name for path in volume.directory.glob("[!.]*")] == ["tls.crt"]


def test_the_same_again_touches_nothing(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "volume")
    volume.write({"tls.crt": b"1"})
    before = (volume.directory / "..data").readlink()
    assert not volume.write({"tls.crt": b"1"})
    assert (volume.directory / "..data").readlink() == before


@pytest.mark.parametrize(
    ("body", "files"),
    [
        ({"type": "kubernetes.io/tls", "data": {"tls.crt": "b25l"}}, {"tls.crt": b"one"}),
        ({"data": {"ca.crt": "one"}}, {"ca.crt": b"one"}),
        ({}, {}),
    ],
    ids=["secret", "configmap", "empty"],
)
def test_entries_become_files(body: dict[str, object], files: dict[str, bytes]) -> None:
    assert entries(body) == files
