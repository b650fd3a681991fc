"""What lies in the tree is what the models generate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from meshca.api import generate
from meshca.api.crd import all_definitions
from meshca.api.reference import api_reference
from meshca.api.v1alpha1 import KINDS

ROOT = Path(__file__).parents[3]
FILES = generate.files()


@pytest.mark.parametrize("path", sorted(FILES))
def test_generated_files_are_up_to_date(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == FILES[path], "run `make crds`"


def test_no_generated_directory_holds_anything_else() -> None:
    written = set(FILES)
    for directory in ("crds", "charts/meshca/templates/crds", "charts/meshca/templates/admission"):
        found = {f.relative_to(ROOT).as_posix() for f in (ROOT / directory).iterdir()}
        assert found <= written


def test_the_command_writes_only_what_differs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "meshca.api.generate", str(tmp_path)]
    first = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert sorted(first) == sorted(FILES)
    (tmp_path / "crds" / "caroots.yaml").write_text("old")
    assert generate.write(tmp_path) == ["crds/caroots.yaml"]
    assert (tmp_path / "crds" / "caroots.yaml").read_text() != "old"


def test_the_command_defaults_to_the_present_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["generate"])
    generate.main()
    assert (tmp_path / "docs" / "api.md").is_file()
    assert "docs/api.md" in capsys.readouterr().out


def test_crd_files_hold_the_definitions() -> None:
    for name, definition in all_definitions().items():
        assert yaml.safe_load((ROOT / "crds" / f"{name.split('.')[0]}.yaml").read_text()) == definition


@pytest.mark.parametrize("path", [p for p in sorted(FILES) if p.startswith("charts/")])
def test_chart_files_hold_no_braces_but_those_for_helm(path: str) -> None:
    text = FILES[path]
    expressions = [part.split("}}")[0].strip("- ") for part in text.split("{{")[1:]]
    known = ("/*", "if ", "end", "include ", ".Release.Namespace", ".Values.breakGlassGroup")
    assert [e for e in expressions if not e.startswith(known)] == []


def test_the_reference_names_every_field_of_every_kind() -> None:
    text = api_reference()
    for kind in KINDS:
        assert f"## {kind.resource.kind}\n" in text
        for part in ("spec", "status"):
            model = kind.model_fields[part].annotation
            assert isinstance(model, type)
            for field in model.model_fields.values():
                assert f"| `{part}.{field.alias}` |" in text


def test_the_reference_shows_durations_and_times_as_such() -> None:
    text = api_reference()
    assert "| `spec.leaf.ttl` | duration | `72h` |" in text
    assert "| `status.renewAt` | time |" in text
