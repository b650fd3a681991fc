"""Image archives: the same folder gives the same bytes, and every digest is right."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from e2e import oci

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = oci.ImageConfig(entrypoint=("/run",), user="7:7", env={"A": "1"}, labels={"made": "here"})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "run").write_text("text")
    (folder / "bin" / "run").chmod(0o755)
    (folder / "link").symlink_to("/bin/run")
    return folder


def blobs(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        files = [member for member in tar.getmembers() if member.isfile()]
        return {member.name: tar.extractfile(member).read() for member in files}  # type: ignore[union-attr]


def document(found: dict[str, bytes], descriptor: dict[str, Any]) -> dict[str, Any]:
    data = found[f"blobs/{descriptor['digest'].replace(':', '/')}"]
    assert descriptor["size"] == len(data)
    value: dict[str, Any] = json.loads(data)
    return value


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("pause:1", "docker.io/library/pause:1"),
        ("meshca/operator:1.2.3", "docker.io/meshca/operator:1.2.3"),
        ("localhost/pause:1", "localhost/pause:1"),
        ("registry.example/a/b:1", "registry.example/a/b:1"),
        ("registry:5000/a:1", "registry:5000/a:1"),
    ],
)
def test_a_reference_without_a_registry_gets_the_one_that_engines_assume(given: str, expected: str) -> None:
    assert oci.qualified(given) == expected


def test_every_blob_lies_under_its_own_digest(root: Path, tmp_path: Path) -> None:
    oci.write(root, "a/b:1", CONFIG, tmp_path / "image.tar")
    found = blobs(tmp_path / "image.tar")
    assert json.loads(found.pop("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    del found["index.json"]
    assert len(found) == 3
    for name, data in found.items():
        assert name == f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"


def test_the_index_leads_to_the_name_the_configuration_and_the_layer(root: Path, tmp_path: Path) -> None:
    digest = oci.write(root, "a/b:1", CONFIG, tmp_path / "image.tar")
    found = blobs(tmp_path / "image.tar")
    (entry,) = json.loads(found["index.json"])["manifests"]
    assert entry["digest"] == digest
    assert entry["annotations"]["io.containerd.image.name"] == "docker.io/a/b:1"
    manifest = document(found, entry)
    (layer,) = manifest["layers"]
    config = document(found, manifest["config"])
    assert config["rootfs"]["diff_ids"] == [layer["digest"]]
    assert config["config"] == {
        "Entrypoint": ["/run"],
        "Env": ["A=1"],
        "Labels": {"made": "here"},
        "User": "7:7",
        "WorkingDir": "/",
    }


def test_the_layer_keeps_modes_and_links_and_nobodys_name(root: Path, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    oci.write(root, "a/b:1", CONFIG, archive)
    (tmp_path / "layer.tar").write_bytes(max(blobs(archive).values(), key=len))
    with tarfile.open(tmp_path / "layer.tar") as tar:
        members = {member.name: member for member in tar}
    assert sorted(members) == ["bin", "bin/run", "link"]
    assert members["bin/run"].mode == 0o755
    assert members["link"].linkname == "/bin/run"
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members.values()} == {(0, 0, "", "", 0)}


def test_equal_folders_give_equal_archives_whenever_they_were_made(root: Path, tmp_path: Path) -> None:
    oci.write(root, "a/b:1", CONFIG, tmp_path / "first.tar")
    os.utime(root / "bin" / "run", (1, 1))
    oci.write(root, "a/b:1", CONFIG, tmp_path / "second.tar")
    assert (tmp_path / "first.tar").read_bytes() == (tmp_path / "second.tar").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.tar", "root", "second.tar"]
