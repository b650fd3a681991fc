"""The operator's image, assembled as an OCI archive without a container engine or a registry.

Decides what is in the image: Debian's Python, the hashed wheels that the operator runs on, the operator.
No shell, no package manager, nothing setuid. Builds from the tree it lies in, or from that of a release.
Those who have an engine and a registry use .ci/Dockerfile instead.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from e2e import cache, debian, oci
from e2e.errors import HarnessError

REPOSITORY = "meshca/operator"
USER = 65532
KEPT = 3
"""How many images, and file systems under them, stay in the cache."""
ROOT = Path(__file__).resolve().parent.parent

# libstdc++ is what some of the wheels link to; the rest of what they need comes with Python.
_PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
# Needed only by the parts of the standard library that _UNWANTED leaves out, or by installing packages.
_PRUNED = (
    "debconf", "dpkg", "gcc-*-base", "libdb5*", "libncurses*", "libnsl*", "libreadline*", "libsqlite3*",
    "libtinfo*", "libtirpc*", "media-types", "netbase", "readline-common", "tzdata*",
)  # fmt: skip
# Of /usr/bin only Python itself; of the documentation only the copyright notices.
_WANTED = ("usr/bin/python3*", "usr/share/doc/*/copyright")
_UNWANTED = (
    "usr/bin/*", "usr/sbin/*", "bin/*", "sbin/*", "usr/share/*", "etc/ld.so.conf*", "*/gconv/*",
    "*/lib-dynload/_sqlite3*", "*/lib-dynload/_curses*", "*/lib-dynload/readline*", "*/lib-dynload/nis*",
    "*/lib-dynload/_dbm*", "*/python3*/dbm/*", "*/python3*/sqlite3/*", "*/python3*/curses/*",
    "*/python3*/lib2to3/*", "*/python3*/ensurepip/*", "*/python3*/idlelib/*", "*/python3*/pydoc_data/*",
    "*/python3*/turtle*", "*/python3*/test/*", "*/__pycache__/*",
)  # fmt: skip
# Of the wheels: sources of what is compiled, tests, and scripts that name the building Python.
# The synchronous half of the Kubernetes client loads its models only when asked for, which nobody does.
_STRIPPED = (
    "bin",
    "kubernetes/client/models/[!_]*",
    "kubernetes/client/api/[!_]*",
    "*/tests",
    "*.pyx",
    "*.pxd",
    "*.c",
    "*.h",
    "*.pyi",
    "*/__pycache__",
)

_SITE = "usr/local/lib/python{}/dist-packages"
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")

_LAUNCHER = """\
#!/usr/bin/python3 -sP
import sys

from meshca.__main__ import main

sys.exit(main())
"""
_PASSWD = f"root:x:0:0::/:/nonexistent\nmeshca:x:{USER}:{USER}::/:/nonexistent\n"
_GROUP = f"root:x:0:\nmeshca:x:{USER}:\n"


@dataclass(frozen=True, slots=True)
class Source:
    """A tree that an image is built from."""

    root: Path

    @property
    def version(self) -> str:
        """Return the version that the tree gives itself."""
        text = (self.root / "operator" / "meshca" / "__init__.py").read_text()
        found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
        if found is None:
            raise HarnessError(f"{self.root}: no version in operator/meshca/__init__.py")
        return found[1]

    @property
    def reference(self) -> str:
        """Return the image's reference: no registry host, the version as its tag."""
        return f"{REPOSITORY}:{self.version}"

    @property
    def requirements(self) -> Path:
        """Return the hashed list of what the operator runs on."""
        return self.root / ".ci" / "requirements-run.txt"

    def files(self) -> list[tuple[str, bytes]]:
        """Return the files that a wheel is built from, with their paths."""
        package = self.root / "operator" / "meshca"
        modules = [path for path in package.rglob("*") if "__pycache__" not in path.parts]
        found = [*(self.root / name for name in ("pyproject.toml", "README.md", "LICENSE")), *modules]
        return [
            (str(path.relative_to(self.root)), path.read_bytes()) for path in sorted(found) if path.is_file()
        ]


HERE = Source(ROOT)


def reference() -> str:
    """Return the reference of the image of this tree."""
    return HERE.reference


@functools.cache
def operator(source: Source = HERE) -> oci.Image:
    """Return the image of the operator in a tree, built now unless the cache has it.

    A process that asks again gets the same one, even if the tree was edited meanwhile.

    ``CannotRunError`` where there is no apt; ``HarnessError`` when a step fails.
    """
    base = _base(source.requirements)
    recipe = cache.digest(base.name, *(data for _, data in source.files()))
    name = f"image-{source.version}"
    entry = cache.entry(name, recipe, functools.partial(_build, base=base, source=source))
    _forget_older(entry, name)
    return oci.Image(source.reference, entry / "image.tar")


def main() -> None:
    """Build the image and put its archive into dist/."""
    image = operator()
    target = ROOT / "dist" / f"meshca-operator-{HERE.version}.oci.tar"
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(image.archive, target)
    print(f"{image.reference}: {target.relative_to(ROOT)}, {target.stat().st_size / 1e6:.0f} MB")


@functools.cache
def _base(requirements: Path) -> Path:
    """Return a file system with everything but the operator itself, which alone changes often."""
    packages = _apt().packages(_PACKAGES, _PRUNED)
    recipe = cache.digest(
        *(package.sha256 for package in packages),
        requirements.read_bytes(),
        *(Path(module).read_bytes() for module in (__file__, oci.__file__, debian.__file__)),
    )
    build = functools.partial(_build_base, packages=packages, requirements=requirements)
    entry = cache.entry("image-base", recipe, build)
    _forget_older(entry, "image-base")
    return entry


def _build_base(root: Path, packages: list[debian.Package], requirements: Path) -> None:
    """Put Debian's Python and the hashed wheels into an entry of the cache."""
    with tempfile.TemporaryDirectory() as scratch:
        debian.unpack(_apt().download(packages, Path(scratch)), root, wanted)
    version = python_version(packages)
    site = root / _SITE.format(version)
    _pip_install(site, ["--no-deps", "--require-hashes", "-r", str(requirements)])
    _strip(site)
    _finish(root)
    _compile(root, [root / f"usr/lib/python{version}", site])


def _build(entry: Path, base: Path, source: Source) -> None:
    """Add the operator of a tree to the base and pack it into an entry of the cache."""
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".image.") as scratch:
        root = Path(scratch, "root")
        # Links instead of copies: nothing of the base is changed, files are only added.
        shutil.copytree(base, root, symlinks=True, copy_function=os.link)
        (site,) = root.glob(_SITE.format("*"))
        before = set(site.iterdir())
        _pip_install(site, ["--no-deps", str(_wheel(Path(scratch), source))])
        _strip(site)
        _compile(root, sorted(set(site.iterdir()) - before))
        # Fails here and not in a Pod when something that the operator loads was left out.
        _python(root, ["-c", "import meshca.runtime, kubernetes.aio.config"], site)
        _write(root, entry / "image.tar", source)


def _forget_older(entry: Path, name: str) -> None:
    """Remove all but the newest few entries of a name: each state of the tree makes one."""
    entries = sorted(entry.parent.glob(f"{name}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in entries[KEPT:]:
        if old != entry:
            shutil.rmtree(old, ignore_errors=True)


def wanted(path: str) -> bool:
    """Tell whether a file of a Debian package belongs into the image."""
    if any(fnmatchcase(path, pattern) for pattern in _WANTED):
        return True
    return not any(fnmatchcase(path, pattern) for pattern in _UNWANTED)


def python_version(packages: list[debian.Package]) -> str:
    """Return the version of Python that is among the packages, e.g. ``3.11``."""
    for package in packages:
        if match := re.fullmatch(r"python(3\.\d+)-minimal", package.name):
            return match[1]
    raise HarnessError("no Python among the packages of the image")


def _apt() -> debian.Apt:
    return debian.Apt(cache.root() / "apt")


def _wheel(scratch: Path, source: Source) -> Path:
    """Build the operator's wheel, from a copy: setuptools would pick up what an earlier build left."""
    for name, data in source.files():
        path = scratch / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    options = ["--no-deps", "--no-build-isolation", f"--wheel-dir={scratch}"]
    cache.run([*_PIP, "wheel", *options, str(scratch / "source")], label="image: operator")
    (wheel,) = scratch.glob("meshca-*.whl")
    return wheel


def _pip_install(site: Path, what: list[str]) -> None:
    """Install into ``site`` for the image's Python, whatever Python runs this."""
    machine = os.uname().machine
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in (17, 28, 31, 34)]
    foreign = [
        "--only-binary=:all:",
        "--implementation=cp",
        f"--python-version={site.parent.name.removeprefix('python')}",
        *(f"--platform={platform}" for platform in (*platforms, f"manylinux2014_{machine}")),
    ]
    target = ["--no-compile", f"--target={site}"]
    cache.run([*_PIP, "install", *target, *foreign, *what], label="image: packages")


def _strip(site: Path) -> None:
    for path in sorted(site.rglob("*")):
        if any(fnmatchcase(str(path.relative_to(site)), pattern) for pattern in _STRIPPED):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _finish(root: Path) -> None:
    """Add what belongs to no package: the launcher, the user, the mount points."""
    launcher = root / "usr/local/bin/meshca-operator"
    launcher.parent.mkdir(parents=True, exist_ok=True)
    launcher.write_text(_LAUNCHER)
    launcher.chmod(0o755)
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/passwd").write_text(_PASSWD)
    (root / "etc/group").write_text(_GROUP)
    for name in ("dev", "proc", "run", "sys", "tmp"):
        (root / name).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)


def _compile(root: Path, folders: list[Path]) -> None:
    """Byte-compile folders.

    Unchecked: the file system is read-only, so the sources cannot change under the compiled files.
    """
    options = ["-q", "-j2", "--invalidation-mode=unchecked-hash", "-s", str(root), "-p", "/"]
    _python(root, ["-m", "compileall", *options, *map(str, folders)])


def _python(root: Path, arguments: list[str], site: Path | None = None) -> None:
    """Run the image's own Python, which need not be the one that runs this, outside of a container."""
    (loader,) = [path for path in root.glob("**/ld-linux*.so.*") if not path.is_symlink()]
    libraries = [str(path) for path in (*root.glob("lib/*-linux-gnu"), *root.glob("usr/lib/*-linux-gnu"))]
    program = [str(loader), "--library-path", ":".join(libraries), str(root / "usr/bin/python3")]
    environment = {"PYTHONHOME": str(root / "usr"), "PYTHONPATH": str(site or ""), "LC_ALL": "C.UTF-8"}
    cache.run([*program, "-s", "-B", *arguments], label=f"image: python {arguments[0]}", env=environment)


def _write(root: Path, archive: Path, source: Source) -> None:
    config = oci.ImageConfig(
        entrypoint=("meshca-operator",),
        user=f"{USER}:{USER}",
        env={"PATH": "/usr/local/bin:/usr/bin", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
        labels={
            "org.opencontainers.image.title": "meshca",
            "org.opencontainers.image.version": source.version,
            "org.opencontainers.image.licenses": "Apache-2.0",
        },
    )
    oci.write(root, source.reference, config, archive)


if __name__ == "__main__":
    try:
        main()
    except (HarnessError, subprocess.SubprocessError) as error:
        sys.exit(f"image: {error}")
