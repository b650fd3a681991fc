"""What is shipped works outside the source tree, and the folder ``operator/`` shadows nothing."""

from __future__ import annotations

import operator
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from meshca import __version__

ROOT = Path(__file__).parents[3]


def python(*args: str, cwd: Path) -> str:
    """Run an isolated interpreter of this environment: no PYTHONPATH, no current folder."""
    result = subprocess.run(
        [sys.executable, "-I", *args], cwd=cwd, capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_import_operator_is_the_standard_library() -> None:
    assert Path(operator.__file__ or "").parent == Path(sysconfig.get_paths()["stdlib"])
    assert operator.itemgetter(1)("ab") == "b"


def test_import_operator_is_the_standard_library_from_the_root_of_the_tree_too() -> None:
    code = "import sys; sys.path.insert(0, '.'); import operator; print(operator.__file__)"
    assert Path(python("-c", code, cwd=ROOT).strip()).parent == Path(sysconfig.get_paths()["stdlib"])


def test_the_folder_is_no_package() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from a copy, since setuptools leaves ``build/`` and ``*.egg-info`` where it builds."""
    tree = tmp_path_factory.mktemp("tree") / "meshca"
    tree.mkdir()
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    (tree / "README.md").write_text("meshca\n")
    shutil.copytree(
        ROOT / "operator", tree / "operator", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
    )
    out = tree.parent / "dist"
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    python("-m", "pip", "wheel", *options, "--wheel-dir", str(out), str(tree), cwd=tree.parent)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    sources = {
        str(path.relative_to(ROOT / "operator"))
        for path in (ROOT / "operator" / "meshca").rglob("*")
        if path.suffix in {".py", ".typed"}
    }
    assert {name for name in names if ".dist-info/" not in name} == sources
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheel_installs_in_a_fresh_environment_and_answers(wheel: Path, tmp_path: Path) -> None:
    """Dependencies are lent by a .pth file: no network, and meshca itself can only come from the wheel.

    A .pth file inside a lent folder is not read, so the editable install of this tree stays out.
    """
    home = tmp_path / "fresh"
    venv.create(home, with_pip=False, symlinks=True)
    paths = sysconfig.get_paths(vars={"base": str(home), "platbase": str(home)}, scheme="venv")
    options = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    python("-m", "pip", "--python", f"{home}/bin/python", "install", *options, str(wheel), cwd=tmp_path)
    site = Path(paths["purelib"])
    (site / "lent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    where = subprocess.run(
        [f"{home}/bin/python", "-I", "-c", "import meshca; print(meshca.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert Path(where.stdout.strip()).is_relative_to(site)
    answer = subprocess.run(
        [f"{home}/bin/meshca-operator", "--version"],
        cwd=tmp_path,
        env={},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert answer.stdout == f"meshca-operator {__version__}\n"
    for program in ("meshca", "kubectl-meshca"):
        said = subprocess.run(
            [f"{home}/bin/{program}", "--version"],
            cwd=tmp_path,
            env={},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert said.stdout == f"meshca {__version__}\n"


def test_without_the_extra_the_command_line_says_how_to_install_it(wheel: Path, tmp_path: Path) -> None:
    """The wheel alone, with no dependency at all, still answers in one sentence."""
    code = (
        f"import sys; sys.path.insert(0, {str(wheel)!r}); sys.modules['typer'] = None;"
        "from meshca.cli import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "meshca: the command line is not installed: run pip install 'meshca[cli]'\n"
