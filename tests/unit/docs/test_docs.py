"""README and docs/: links lead somewhere, what they name exists, every reason is explained."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshca.api.v1alpha1.conditions import REASONS, Reason

ROOT = Path(__file__).parents[3]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, ROOT / "CHANGELOG.md", ROOT / "charts/meshca/README.md", *sorted(DOCS.rglob("*.md"))]
TOP_LEVEL = {"README.md", "CHANGELOG.md"}

EACH = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> str:
    """Return a page without its fenced blocks, where a bracket is no link and a hash no heading."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return what may stand behind the # of a link: headings as GitHub and others shorten them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def section(page: Path, heading: str) -> str:
    """Return what stands below a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", prose(page), re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


def first_cells(text: str) -> list[str]:
    """Return the first cell of each row of the tables in a text, headings left out."""
    rows = re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
    return [row for row in rows if "`" in row]


@EACH
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        where = (page.parent / path).resolve() if path else page
        assert where.exists(), target
        assert not anchor or anchor in anchors(where), target


@EACH
def test_nothing_is_unfinished(page: Path) -> None:
    assert not re.findall(r"\b(TODO|FIXME|TBD|XXX|WIP)\b|@@|lorem ipsum", page.read_text())


@EACH
def test_no_page_speaks_of_the_machine_that_wrote_it(page: Path) -> None:
    assert not re.findall(r"/(root|home|work|tmp)/", page.read_text())


@EACH
def test_every_target_of_make_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:^    |`)(?:\w+=\S+ )*make ([a-z0-9]+)", page.read_text(), re.MULTILINE)
    assert set(named) <= targets


def test_every_page_is_reached_from_the_readme() -> None:
    seen, ahead = set(), [README]
    while ahead:
        page = ahead.pop()
        seen.add(page)
        links = re.findall(r"\]\(([^)#]+)[^)]*\)", prose(page))
        targets = ((page.parent / link).resolve() for link in links if not link.startswith("https://"))
        ahead += [target for target in targets if target.suffix == ".md" and target not in seen]
    assert set(PAGES) <= seen


def test_the_top_level_holds_few_pages() -> None:
    assert {page.name for page in ROOT.glob("*.md")} == TOP_LEVEL


def pasted_runs() -> list[str]:
    text = README.read_text()
    return re.findall(
        r"^```\n( +\d+\.\d s  (?:cluster|two clusters).*?)^```$", text, re.MULTILINE | re.DOTALL
    )


@pytest.mark.parametrize(
    ("program", "numbers", "steps"), [("e2e/demo.py", (0, 1), 18), ("e2e/federation/demo.py", (2,), 10)]
)
def test_the_steps_of_the_pasted_runs_are_those_of_the_demo(
    program: str, numbers: tuple[int, ...], steps: int
) -> None:
    """A step that was renamed since the paste would be output that no command prints."""
    tree = ast.parse((ROOT / program).read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    written = [call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "step"]
    patterns = [pattern_of(step) for step in written]
    printed = [
        line
        for number in numbers
        for line in re.findall(r"^ +\d+\.\d s  (.*)$", pasted_runs()[number], re.MULTILINE)
    ]
    begun = [line for line in printed if " failed" not in line]
    assert len(begun) == steps
    for line in begun:
        assert any(re.fullmatch(pattern, line) for pattern in patterns), line


def test_the_pasted_runs_rotate_through_every_phase_and_say_0_failed() -> None:
    runs = pasted_runs()
    assert len(runs) == 3
    for run in runs:
        board = re.findall(r" s  (\S+) +\d+ % +\d+ ok, (\d+) failed", run)
        phases = list(dict.fromkeys(phase for phase, _ in board))
        assert phases == ["-", "Prepare", "Publish", "Activate", "Reissue", "Complete"]
        assert {failed for _, failed in board} == {"0"}
        assert re.search(r"^\d+ handshakes .*during the rotation.*: 0 failed$", run, re.MULTILINE)


def pattern_of(text: ast.expr) -> str:
    if isinstance(text, ast.Constant):
        return re.escape(str(text.value))
    assert isinstance(text, ast.JoinedStr)
    return "".join(pattern_of(part) if isinstance(part, ast.Constant) else ".+" for part in text.values)


@pytest.mark.parametrize("heading", REASONS)
def test_every_reason_is_explained_under_its_condition(heading: str) -> None:
    explained = [
        name
        for cell in first_cells(section(DOCS / "concepts.md", heading))
        for name in re.findall(r"`(\w+)`", cell)
    ]
    assert sorted(explained) == sorted(map(str, REASONS[heading]))


def test_every_reason_is_explained() -> None:
    assert {reason for reasons in REASONS.values() for reason in reasons} == set(Reason)


def test_values_of_the_chart_that_are_explained_exist() -> None:
    values: dict[str, Any] = yaml.safe_load((ROOT / "charts/meshca/values.yaml").read_text())
    cells = first_cells(section(DOCS / "install.md", "Values that matter"))
    named = [name for cell in cells for name in re.findall(r"`([\w.]+)`", cell)]
    assert named
    for name in named:
        found: Any = values
        for part in name.split("."):
            assert part in found, name
            found = found[part]


def test_the_versions_agree() -> None:
    version = re.search(r'__version__ = "(.*)"', (ROOT / "operator/meshca/__init__.py").read_text())
    assert version
    assert f"## [{version[1]}]" in (ROOT / "CHANGELOG.md").read_text()


def test_decisions_are_numbered_and_listed() -> None:
    records = sorted(file.name for file in (DOCS / "decisions").glob("[0-9]*.md"))
    assert [name[:4] for name in records] == [f"{n:04}" for n in range(1, len(records) + 1)]
    assert re.findall(r"\]\((\d{4}-.*?\.md)\)", (DOCS / "decisions/README.md").read_text()) == records
    for name in records:
        assert (DOCS / "decisions" / name).read_text().startswith(f"# {name[:4]}: ")
