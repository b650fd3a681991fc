"""The programs of a node: container runtime, network plugins, firewall, and the pause image.

Decides where they come from (Debian packages unpacked into the cache, one Go program) and says what this
machine lacks for running a node at all. Never starts any of them.
"""

from __future__ import annotations

import functools
import os
import platform
import shutil
import tempfile
from pathlib import Path

from e2e import cache, debian, oci, toolchain
from e2e.errors import CannotRunError
from e2e.node import cgroups, layout

_PACKAGES = ("containerd", "containernetworking-plugins", "nftables", "runc")
# The machine's own C library is as old as its package lists at most; iptables is only suggested by a
# plugin that this network does not use.
_PRUNED = ("gcc-*-base", "iptables", "libc6", "libgcc-s1", "netbase")
_PAUSE_SOURCE = Path(__file__).parent.parent / "go" / "pause"
_UNPRIVILEGED = "65535:65535"


def check() -> None:
    """Raise ``CannotRunError`` with the reason if this machine cannot run a node."""
    if platform.system() != "Linux":
        raise CannotRunError("node: needs Linux")
    if os.geteuid() != 0:
        raise CannotRunError("node: needs root, for namespaces and mounts")
    if shutil.which("apt-get") is None:
        raise CannotRunError("node: needs Debian packages, and there is no apt-get")
    missing = [tool for tool in ("unshare", "nsenter", "mount") if shutil.which(tool) is None]
    if missing:
        raise CannotRunError(f"node: {', '.join(missing)} not found (packages mount, util-linux)")
    if not cgroups.hierarchies():
        raise CannotRunError("node: no control group hierarchy is mounted")
    if not os.access(cgroups.hierarchies()[0], os.W_OK):
        raise CannotRunError("node: control groups cannot be made here")


@functools.cache
def debs() -> Path:
    """Return the directory below which the Debian packages of a node are unpacked."""
    apt = debian.Apt(cache.root() / "apt")
    roots = [*_PACKAGES, *(() if shutil.which("ip") else ("iproute2",))]
    packages = apt.packages(roots, _PRUNED)
    recipe = cache.digest(*(package.sha256 for package in packages))

    def build(directory: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            debian.unpack(apt.download(packages, Path(scratch)), directory)

    return cache.entry("node-debs", recipe, build)


@functools.cache
def pause() -> oci.Image:
    """Return the image that every Pod's namespaces hang on."""
    recipe = cache.digest(
        (_PAUSE_SOURCE / "main.go").read_bytes(), Path(oci.__file__).read_bytes(), layout.PAUSE
    )

    def build(directory: Path) -> None:
        go = toolchain.go()
        with tempfile.TemporaryDirectory() as scratch:
            program = Path(scratch, "pause")
            command = [str(go), "build", "-ldflags=-s -w", "-o", str(program), "."]
            cache.run(command, label="pause", cwd=_PAUSE_SOURCE, env=toolchain.environment(go))
            config = oci.ImageConfig(entrypoint=("/pause",), user=_UNPRIVILEGED)
            oci.write(Path(scratch), layout.PAUSE, config, directory / "image.tar")

    return oci.Image(layout.PAUSE, cache.entry("node-pause", recipe, build) / "image.tar")
