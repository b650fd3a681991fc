"""Kubernetes itself, built from Go modules into one program with a link per name.

Decides which versions go together and how they are built. The module list of the default version is
pinned beside ``main.go``; that of any other version is derived from Kubernetes' own go.mod, and then only
the control plane is built. What a build has to borrow from the default version it says, and ``borrowed``
tells it to whoever reports on the run.
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
CONTROL_PLANE = ("etcd", "kube-apiserver", "kubectl", "kube-controller-manager")
NODE = ("kube-scheduler", "kube-proxy", "kubelet")
PROGRAMS = (*CONTROL_PLANE, *NODE, "helm")
NEEDED = (*CONTROL_PLANE, "helm")
"""What a control plane and its scenarios cannot do without."""

SOURCE = Path(__file__).parent / "go" / "kubernetes"
PROGRAM = "k8s"


def version() -> str:
    """Return the Kubernetes version asked for by ``K8S`` in the environment, else the default."""
    return os.environ.get("K8S", "").removeprefix("v") or VERSION


def build(wanted: str = "") -> Path:
    """Return a directory with every program by its name; built once, minutes from an empty cache.

    A version other than the default has no node's programs and the default version's Helm.
    """
    wanted = wanted or version()
    target = cache.entry(f"kubernetes-{wanted}", _recipe(wanted), lambda directory: _build(wanted, directory))
    for name in NEEDED:
        if not (target / name).exists():
            if name != "helm":
                cache.say(f"kubernetes {wanted}: {name} is that of {VERSION} ({_note(target)})")
            _link(target / name, build(VERSION) / name)
    return target


def borrowed(directory: Path) -> str:
    """Say what the build in ``directory`` could not have of its own version; empty as a rule."""
    return f"kube-controller-manager is that of {VERSION}: {note}" if (note := _note(directory)) else ""


def assets() -> Path:
    """Return the directory of programs to use: ``KUBEBUILDER_ASSETS`` as far as it goes, else built ones."""
    given = os.environ.get("KUBEBUILDER_ASSETS")
    if not given:
        return build()
    own = {name: Path(given, name) for name in PROGRAMS if Path(given, name).exists()}
    missing = [name for name in NEEDED if name not in own]
    if "kube-apiserver" not in own:
        raise HarnessError(f"KUBEBUILDER_ASSETS={given}: no kube-apiserver in it")
    if not missing:
        return Path(given)
    said = subprocess.run([own["kube-apiserver"], "--version"], capture_output=True, text=True, check=True)
    found = said.stdout.strip().rpartition("v")[2]
    cache.say(f"KUBEBUILDER_ASSETS={given}: no {', '.join(missing)}; built from source instead")
    programs = build(found)
    recipe = cache.digest(str(Path(given).resolve()), str(programs))

    def link(directory: Path) -> None:
        for name in NEEDED:
            _link(directory / name, Path(own.get(name, programs / name)))

    return cache.entry(f"assets-{found}", recipe, link)


def write_modules(wanted: str, source: Path) -> None:
    """Write go.mod and go.sum of a Kubernetes version into ``source``, from Kubernetes' own go.mod.

    Kubernetes replaces its staging modules by folders of its own tree; outside of that tree each is
    replaced by the module of the same name that is published with the release.
    """
    label = f"kubernetes {wanted} modules"
    (source / "go.mod").write_text("module meshca.dev/e2e/kubernetes\n")
    said = _go(["mod", "download", "-json", f"k8s.io/kubernetes@v{wanted}"], source, label)
    module = Path(json.loads(said[said.index("{") :])["GoMod"]).read_text()
    (source / "go.mod").write_text(go_mod(wanted, module, helm=(source / "helm.go").exists()))
    # With -e, because modules that only tests of others import need not be there.
    _go(["mod", "tidy", "-e"], source, label)


def go_mod(wanted: str, kubernetes: str, *, helm: bool) -> str:
    """Return the text of our go.mod for a version, ``kubernetes`` being Kubernetes' own."""
    staged = "v0." + wanted.split(".", 1)[1]
    etcd = re.search(r"go\.etcd\.io/etcd/client/v3 (v\S+)", kubernetes)
    language = re.findall(r"^(?:go|godebug) .*$", kubernetes, re.MULTILINE)
    names = sorted(set(re.findall(r"^\s*(k8s\.io/\S+) => \./staging/", kubernetes, re.MULTILINE)))
    if not (etcd and names and language):
        raise HarnessError(f"kubernetes {wanted}: its go.mod names no etcd or no staging modules")
    lines = [
        "module meshca.dev/e2e/kubernetes",
        "",
        *language,
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


def _files(wanted: str) -> list[Path]:
    if wanted == VERSION:
        return sorted(SOURCE.iterdir())
    return [SOURCE / "main.go", SOURCE / "manager.go"]


def _recipe(wanted: str) -> str:
    contents = (part for file in _files(wanted) for part in (file.name, file.read_bytes()))
    return cache.digest(*contents, _stamps(wanted))


def _stamps(wanted: str) -> str:
    major, minor, _ = wanted.split(".", 2)
    prefix = "-X k8s.io/component-base/version."
    stamps = f"{prefix}gitVersion=v{wanted} {prefix}gitMajor={major} {prefix}gitMinor={minor}"
    return f"-ldflags=-s -w {stamps}"


def _build(wanted: str, directory: Path) -> None:
    source = directory / "source"
    source.mkdir()
    for file in _files(wanted):
        shutil.copy(file, source)
    names = list(CONTROL_PLANE)
    if wanted == VERSION:
        names += [*NODE, "helm"]
    else:
        write_modules(wanted, source)
        if missing := _missing(source):
            (source / "manager.go").rename(source / "manager.go.left-out")
            names.remove("kube-controller-manager")
            text = f"the module registry does not serve {missing[0]} and {len(missing) - 1} more packages"
            (directory / "NOTE").write_text(text)
    mode = "readonly" if wanted == VERSION else "mod"
    target = str(directory / PROGRAM)
    _go(["build", "-v", f"-mod={mode}", _stamps(wanted), "-o", target, "."], source, f"kubernetes {wanted}")
    for name in names:
        _link(directory / name, Path(PROGRAM))


def _missing(source: Path) -> list[str]:
    """Return the packages that the program needs and no module provides."""
    form = "{{if .Error}}{{.ImportPath}}{{end}}"
    said = _go(["list", "-e", "-deps", "-f", form, "."], source, "packages", quiet=True)
    return sorted({line for line in said.splitlines() if line})


def _go(arguments: list[str], source: Path, label: str, *, quiet: bool = False) -> str:
    go = toolchain.go()
    environment = toolchain.environment(go)
    return cache.run([str(go), *arguments], label=label, cwd=source, env=environment, quiet=quiet)


def _note(directory: Path) -> str:
    note = directory / "NOTE"
    return note.read_text() if note.exists() else ""


def _link(link: Path, target: Path) -> None:
    spare = link.with_name(f".{link.name}.{os.getpid()}")
    spare.symlink_to(target)
    spare.replace(link)


if __name__ == "__main__":
    # Renews the pinned module list after VERSION or HELM has changed.
    write_modules(VERSION, SOURCE)
