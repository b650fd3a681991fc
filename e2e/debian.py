"""Debian packages taken apart beside the system: found, fetched and unpacked, never installed.

Decides which packages a set of programs needs and which files of them are kept. Never runs a package's
scripts and never changes what the machine has installed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from e2e.errors import CannotRunError, HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

_ONLY_HARD = [
    f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
]
_URI = re.compile(r"^'(?P<url>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})$")


@dataclass(frozen=True, slots=True)
class Package:
    """One version of one package as the machine's package lists offer it; ``size`` in bytes."""

    name: str
    version: str
    file: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Apt:
    """The machine's apt, or where its package lists are empty, apt with lists of its own under ``state``."""

    state: Path

    def packages(self, roots: Collection[str], prune: Collection[str] = ()) -> list[Package]:
        """Return the packages that ``roots`` need, without ``prune`` (patterns) and what only those need.

        ``CannotRunError`` without apt; ``HarnessError`` if the lists do not know a package.
        """
        for tool in ("apt-get", "apt-cache", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise CannotRunError(f"{tool} is missing: Debian packages can be fetched on Debian only")
        graph = self._graph(roots)
        if not set(roots) <= graph.keys():
            self._update()
            graph = self._graph(roots)
        missing = sorted(set(roots) - graph.keys())
        if missing:
            raise HarnessError(f"the package lists do not know {', '.join(missing)}")
        return self._offers(sorted(reachable(graph, roots, prune)))

    def download(self, packages: Iterable[Package], target: Path) -> list[Path]:
        """Fetch packages into ``target`` and return their files, each checked against its digest."""
        wanted = list(packages)
        pins = [f"{package.name}={package.version}" for package in wanted]
        _run(["apt-get", *self._options(), "-q", "download", *pins], cwd=target)
        for package in wanted:
            data = (target / package.file).read_bytes()
            if hashlib.sha256(data).hexdigest() != package.sha256:
                raise HarnessError(f"{package.file} is not what the package list says")
        return [target / package.file for package in wanted]

    def _graph(self, roots: Iterable[str]) -> dict[str, list[str]]:
        text = _run(
            ["apt-cache", *self._options(), "depends", "--recurse", *_ONLY_HARD, *sorted(roots)], check=False
        )
        return dict(parse_depends(text))

    def _offers(self, names: Collection[str]) -> list[Package]:
        text = _run(["apt-get", *self._options(), "--print-uris", "download", *names])
        found = {package.name: package for package in map(parse_uri, text.splitlines()) if package}
        missing = sorted(set(names) - found.keys())
        if missing:
            raise HarnessError(f"no file of {', '.join(missing)} is offered")
        return [found[name] for name in names]

    def _options(self) -> list[str]:
        options = ["-o", "APT::Sandbox::User=root"]
        if self.state.exists():
            options += ["-o", f"Dir::State::lists={self.state}/lists", "-o", f"Dir::Cache={self.state}/cache"]
        return options

    def _update(self) -> None:
        for part in ("lists/partial", "cache/archives/partial"):
            (self.state / part).mkdir(parents=True, exist_ok=True)
        _run(["apt-get", *self._options(), "-q", "update"])


def parse_depends(text: str) -> Iterator[tuple[str, list[str]]]:
    """Read ``apt-cache depends``: each package with what it needs, the first of each set of alternatives."""
    name = ""
    needs: list[str] = []
    alternative = False
    for line in text.splitlines():
        if line and not line.startswith((" ", "<")):
            if name:
                yield name, needs
            name, needs, alternative = line.strip(), [], False
            continue
        field = re.match(r"^ (?P<more>[ |])(?:Pre)?Depends: (?P<name>\S+)$", line)
        if field is None:
            continue
        if not alternative and not field["name"].startswith("<"):
            needs.append(field["name"])
        alternative = field["more"] == "|"
    if name:
        yield name, needs


def parse_uri(line: str) -> Package | None:
    """Read one line of ``apt-get --print-uris download``; anything else is None."""
    match = _URI.match(line)
    if match is None:
        return None
    name, version, _ = match["file"].removesuffix(".deb").split("_")
    return Package(
        name=name,
        version=version.replace("%3a", ":"),
        file=match["file"],
        size=int(match["size"]),
        sha256=match["sha256"],
    )


def reachable(graph: dict[str, list[str]], roots: Iterable[str], prune: Collection[str]) -> set[str]:
    """Return every package that can be reached from ``roots`` without going through ``prune`` (patterns)."""
    seen: set[str] = set()
    todo = list(roots)
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        todo += [need for need in graph.get(name, ()) if not any(fnmatchcase(need, p) for p in prune)]
    return seen


def unpack(debs: Iterable[Path], root: Path, keep: Callable[[str], bool] = lambda _: True) -> None:
    """Unpack the files of packages into ``root``; ``keep`` is asked with each path (``usr/bin/x``)."""
    for deb in debs:
        with (
            subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as process,
            tarfile.open(fileobj=process.stdout, mode="r|") as tar,
        ):
            tar.extractall(root, filter=_Keep(keep))  # noqa: S202  the packages were checked by digest
        if process.returncode:
            raise HarnessError(f"dpkg-deb could not read {deb.name}")


@dataclass(frozen=True, slots=True)
class _Keep:
    """The filter that ``tarfile`` asks about each member."""

    keep: Callable[[str], bool]

    def __call__(self, member: tarfile.TarInfo, path: str, /) -> tarfile.TarInfo | None:
        name = member.name.removeprefix("./").rstrip("/")
        if name in {"", "."} or (not member.isdir() and not self.keep(name)):
            return None
        return tarfile.tar_filter(member, path)


def _run(command: list[str | Path], cwd: Path | None = None, *, check: bool = True) -> str:
    """Run a command and return what it printed; ``HarnessError`` with its last lines when it fails."""
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}
    )
    if check and done.returncode:
        raise HarnessError(f"{' '.join(map(str, command[:4]))} …: {done.stderr.strip()[-800:]}")
    return done.stdout
