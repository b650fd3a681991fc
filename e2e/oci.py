"""One-layer OCI image archives, made without a container engine.

Decides how a folder becomes an archive that any engine imports; the same folder gives the same bytes.
Never talks to a registry. Hand-written because the tools that do this (buildah, umoci) are programs
that a test machine does not have, and the part of the format that one layer needs is small.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import platform
import tarfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"

_GOARCH = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """An image archive and the reference under which a kubelet asks for it."""

    reference: str
    archive: Path


@dataclasses.dataclass(frozen=True, slots=True)
class ImageConfig:
    """What a container made from the image starts, as whom and with which surroundings.

    ``user`` is ``uid:gid`` in digits, so that a kubelet can tell that it is not root.
    """

    entrypoint: tuple[str, ...]
    user: str
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    workdir: str = "/"
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def document(self, diff_id: str) -> dict[str, Any]:
        """Return the image configuration for one layer whose uncompressed digest is ``diff_id``.

        Source: OCI image specification 1.1, config.md.
        """
        return {
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "Entrypoint": list(self.entrypoint),
                "Env": [f"{key}={value}" for key, value in self.env.items()],
                "Labels": dict(self.labels),
                "User": self.user,
                "WorkingDir": self.workdir,
            },
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        }


def architecture() -> str:
    """Return this machine's architecture by the name that images and Debian use for it."""
    machine = platform.machine()
    return _GOARCH.get(machine, machine)


def qualified(reference: str) -> str:
    """Return the reference with the registry host that engines assume when it names none."""
    host, slash, _ = reference.partition("/")
    if not slash:
        return f"docker.io/library/{reference}"
    if "." in host or ":" in host or host == "localhost":
        return reference
    return f"docker.io/{reference}"


def write(root: Path, reference: str, config: ImageConfig, archive: Path) -> str:
    """Pack the folder ``root`` as ``archive`` under the name ``reference``; return the manifest's digest.

    Every owner becomes root and every time the epoch, so that equal folders give equal archives.
    """
    blobs: dict[str, bytes | Path] = {}
    layer = archive.with_suffix(".layer")
    digest, size = _pack(root, layer)
    try:
        blobs[digest] = layer
        document = _blob(blobs, _CONFIG, config.document(digest))
        manifest = _blob(
            blobs,
            _MANIFEST,
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": document,
                "layers": [{"mediaType": _LAYER, "digest": digest, "size": size}],
            },
        )
        name = qualified(reference)
        manifest["annotations"] = {
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name,
        }
        index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [manifest]}
        _assemble(archive, index, blobs)
    finally:
        layer.unlink(missing_ok=True)
    return str(manifest["digest"])


def _pack(root: Path, layer: Path) -> tuple[str, int]:
    """Write the layer of a folder; return its digest and its size in bytes."""
    with tarfile.open(layer, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(root.rglob("*")):
            tar.add(path, arcname=str(path.relative_to(root)), recursive=False, filter=_anonymous)
    with layer.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return f"sha256:{digest}", layer.stat().st_size


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Take out of a member what differs between two machines that made the same folder."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    return member


def _blob(blobs: dict[str, bytes | Path], media_type: str, document: dict[str, Any]) -> dict[str, Any]:
    """Add a JSON document to the blobs and return its descriptor."""
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    blobs[digest] = data
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def _assemble(archive: Path, index: dict[str, Any], blobs: Mapping[str, bytes | Path]) -> None:
    """Write the layout: a marker, the index, and every blob under its digest."""
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        _put(tar, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
        _put(tar, "index.json", json.dumps(index, sort_keys=True).encode())
        for digest, content in sorted(blobs.items()):
            name = f"blobs/{digest.replace(':', '/')}"
            if isinstance(content, bytes):
                _put(tar, name, content)
            else:
                tar.add(content, arcname=name, filter=_anonymous)


def _put(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a file to the archive from memory."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    member.mode = 0o644
    tar.addfile(member, io.BytesIO(data))
