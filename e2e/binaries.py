"""Kubernetes itself, built from Go modules into one program with a link per name.

Decides which versions go together and how they are built. The module list of the default version is
pinned beside ``main.go``; that of any other version is derived from Kubernetes' own go.mod.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from e2e import cache, toolchain
from e2e.errors import HarnessError

VERSION = "1.37.2"
HELM = "4.3.1"
PROGRAMS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubectl",
)
NEEDED = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "helm")
"""What a control plane and its scenarios cannot do without."""

SOURCE = Path(__file__).parent / "go" / "kubernetes"


def version() -> str:
    """Return the Kubernetes version asked for by ``K8S`` in the environment, else the default."""
    return os.environ.get("K8S", "").removeprefix("v") or VERSION


def build(wanted: str = "") -> Path:
    """Return a directory with every program by its name; built once, minutes from an empty cache.

    Helm is always the one built with the default version.
    """
    wanted = wanted or version()
    target = cache.entry(f"kubernetes-{wanted}", _recipe(wanted), lambda directory: _build(wanted, directory))
    helm = target / "helm"
    if not helm.exists():
        _link(helm, build(VERSION) / "k8s")
    return target


def assets() -> Path:
    """Return the directory of programs to use: ``KUBEBUILDER_ASSETS`` as far as it goes, else built ones."""
    given = os.environ.get("KUBEBUILDER_ASSETS")
    if not given:
        return build()
    own = {name: Path(given, name) for name in (*PROGRAMS, "helm") if Path(given, name).exists()}
    missing = [name for name in NEEDED if name not in own]
    if "kube-apiserver" not in own:
        raise HarnessError(f"KUBEBUILDER_ASSETS={given}: no kube-apiserver in it")
    said = subprocess.run([own["kube-apiserver"], "--version"], capture_output=True, text=True, check=True)
    found = said.stdout.strip().rpartition("v")[2]
    if missing:
        cache.say(f"KUBEBUILDER_ASSETS={given}: no {', '.join(missing)}; built from source instead")
    programs = build(found)
    recipe = cache.digest(str(Path(given).resolve()), str(programs))

    def link(directory: Path) -> None:
        for name in (*PROGRAMS, "helm"):
            _link(directory / name, own.get(name, programs / name).resolve())

    return cache.entry(f"assets-{found}", recipe, link)


def _recipe(wanted: str) -> str:
    files = [SOURCE / "main.go"]
    if wanted == VERSION:
        files += [SOURCE / "helm.go", SOURCE / "go.mod", SOURCE / "go.sum"]
    return cache.digest(*(file.read_bytes() for file in files), *_flags(wanted))


def _flags(wanted: str) -> list[str]:
    major, minor, _ = wanted.split(".", 2)
    prefix = "-X k8s.io/component-base/version."
    stamps = f"{prefix}gitVersion=v{wanted} {prefix}gitMajor={major} {prefix}gitMinor={minor}"
    return ["-tags=helm", f"-ldflags=-s -w {stamps}"]


def _build(wanted: str, directory: Path) -> None:
    go = toolchain.go()
    environment = toolchain.environment(go)
    source = directory / "source"
    source.mkdir()
    pinned = wanted == VERSION
    for file in SOURCE.iterdir():
        if pinned or file.name == "main.go":
            shutil.copy(file, source)
    label = f"kubernetes {wanted}"
    if not pinned:
        write_modules(wanted, source)
    arguments = ["build", "-v", *_flags(wanted), "-o", str(directory / "k8s"), "."]
    if pinned:
        environment["GOFLAGS"] = "-trimpath -mod=readonly"
    cache.run([str(go), *arguments], label=label, cwd=source, env=environment)
    for name in (*PROGRAMS, *(("helm",) if pinned else ())):
        _link(directory / name, Path("k8s"))


def write_modules(wanted: str, source: Path) -> None:
    """Write go.mod and go.sum of a Kubernetes version into ``source``, from Kubernetes' own go.mod.

    Kubernetes replaces its staging modules by folders of its own tree; outside of that tree each is
    replaced by the module of the same name that is published with the release.
    """
    go = toolchain.go()
    environment = toolchain.environment(go)
    label = f"kubernetes {wanted} modules"
    (source / "go.mod").write_text("module meshca.dev/e2e/kubernetes\n\ngo 1.26.0\n")
    said = cache.run(
        [str(go), "mod", "download", "-json", f"k8s.io/kubernetes@v{wanted}"],
        label=label,
        cwd=source,
        env=environment,
    )
    module = Path(json.loads(said[said.index("{") :])["GoMod"]).read_text()
    (source / "go.mod").write_text(_go_mod(wanted, module, helm=(source / "helm.go").exists()))
    cache.run([str(go), "mod", "tidy"], label=label, cwd=source, env=environment)


def _go_mod(wanted: str, kubernetes: str, *, helm: bool) -> str:
    staged = "v0." + wanted.split(".", 1)[1]
    etcd = re.search(r"go\.etcd\.io/etcd/client/v3 (v\S+)", kubernetes)
    names = sorted(set(re.findall(r"^\s*(k8s\.io/\S+) => \./staging/", kubernetes, re.MULTILINE)))
    if not etcd or not names:
        raise HarnessError(f"kubernetes {wanted}: its go.mod names no etcd or no staging modules")
    lines = [
        "module meshca.dev/e2e/kubernetes",
        "",
        "go 1.26.0",
        "",
        "require (",
        f"\tgo.etcd.io/etcd/server/v3 {etcd[1]}",
        *([f"\thelm.sh/helm/v4 v{HELM}"] if helm else []),
        f"\tk8s.io/component-base {staged}",
        f"\tk8s.io/kubectl {staged}",
        f"\tk8s.io/kubernetes v{wanted}",
        ")",
        "",
        "replace (",
        *(f"\t{name} => {name} {staged}" for name in names),
        ")",
        "",
    ]
    return "\n".join(lines)


def _link(link: Path, target: Path) -> None:
    spare = link.with_name(f".{link.name}.{os.getpid()}")
    spare.symlink_to(target)
    spare.replace(link)


if __name__ == "__main__":
    write_modules(VERSION, SOURCE)
