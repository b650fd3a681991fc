"""What the benchmark makes of its figures; the figures themselves are never judged in a test."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e.bench import __main__ as bench
from e2e.bench import budgets, meter, page, plots, profile, scaling, table
from e2e.bench.world import _course

if TYPE_CHECKING:
    from e2e.bench.budgets import Budget

JSON = dict[str, Any]
DOCS = Path(__file__).parents[3] / "docs"


def figures(side: str, rate: float, cpu: float, **more: Any) -> JSON:
    processes = {side: cpu, "kube-apiserver": 4.0, "etcd": 0.5}
    steps = [{"ready": ready, "rate": rate, "cpu": processes} for ready in (1000, 2000)]
    found = {"count": 1000, "rate": rate, "p50": 0.1, "p99": 0.3, "writes": 2.0, "foreign": 0.01}
    return found | {"cpu": processes, "course": steps, "peak_mib": 150.0} | more


def results() -> JSON:
    csr, managed = figures("operator", 300.0, 1.5), figures("operator", 150.0, 3.0, writes=3.0)
    sides = {"csr": [csr] * 3, "managed": [managed] * 3, "bare": [figures("bare", 330.0, 0.7)] * 3}
    return copy.deepcopy(
        {
            "machine": {"cores": 2, "memory_gib": 24, "python": "3.11.7", "kubernetes": "1.37.2"},
            "sizes": {"rounds": 3, "count": 1000, "large_rounds": 3, "large": 10_000, "rotating": 2000},
            "small": sides | {"half": [csr] * 3},
            "large": sides,
            "restart": {
                "leaves": 10_000,
                "ready_seconds": 5.0,
                "first_issue_seconds": 5.5,
                "settled_seconds": 8.0,
                "cpu_seconds": 6.0,
                "peak_mib": 140.0,
                "writes": 0,
                "written": [],
            },
            "rotation": {
                "leaves": 2000,
                "seconds": 45.0,
                "reissue_seconds": 40.0,
                "reissue_rate": 50.0,
                "leaf_writes": 1.0,
                "other_writes": 20,
                "cpu": csr["cpu"],
                "foreign": 0.0,
            },
            "scale": {
                "leaves": 100_000,
                "issue": {"cpu_ms": 0.8},
                "startup": {
                    "cpu_seconds": 40.0,
                    "rss_mib": 400.0,
                    "peak_mib": 420.0,
                    "kib_per_leaf": 3.4,
                    "writes": 0,
                    "longest_step_seconds": 0.1,
                },
                "renewal": {
                    "cpu_ms": 0.9,
                    "bucket_seconds": 1800.0,
                    "buckets": [0, 5, 7, 0],
                    "generations": [{"name": "first", "mean_per_second": 1.3, "peak_of_mean": 1.05}],
                },
                "rotation": {
                    "reissue_seconds": 2000.0,
                    "most_in_a_second": 50,
                    "cpu_ms": 1.0,
                    "peak_mib": 440.0,
                    "longest_step_seconds": 0.9,
                },
            },
        }
    )


def judged(found: JSON) -> dict[str, Budget]:
    return {line.what: line for line in budgets.budgets(found)}


def test_good_figures_meet_every_budget() -> None:
    assert [line.what for line in budgets.budgets(results()) if not line.met] == []


@pytest.mark.parametrize(
    ("place", "value", "missed"),
    [
        (("small", "csr", "rate"), 200.0, "rate of CSR leaves, of the bare limit, N = 1,000"),
        (("large", "csr", "rate"), 200.0, "rate of CSR leaves, of the bare limit, N = 10,000"),
        (("small", "managed", "rate"), 90.0, "rate of managed leaves, of the bare limit, N = 1,000"),
        (("small", "half", "p99"), 1.2, "p99 from create to Ready at half of that load"),
        (("small", "csr", "cpu.operator"), 2.1, "operator's CPU for a CSR leaf"),
        (("small", "csr", "writes"), 2.2, "API writes for a CSR leaf"),
        (("small", "managed", "writes"), 3.2, "API writes for a managed leaf"),
        (("large", "managed", "peak_mib"), 300.0, "operator's memory, highest with 10,000 leaves"),
        (("restart", "", "writes"), 1, "restart with 10,000 ready leaves: writes"),
        (("restart", "", "ready_seconds"), 16.0, "restart with 10,000 ready leaves: until ready"),
    ],
)
def test_each_budget_is_missed_by_its_own_figure(
    place: tuple[str, str, str], value: float, missed: str
) -> None:
    found = results()
    part, side, name = place
    for entry in found[part][side] if side else [found[part]]:
        target, _, key = name.rpartition(".")
        (entry[target] if target else entry)[key] = value
    assert not judged(found)[missed].met


def test_what_grows_with_the_number_of_leaves_shows() -> None:
    found = results()
    for entry in found["large"]["csr"]:
        entry["course"][-1]["cpu"] = entry["cpu"] | {"operator": 2.0}
    assert not judged(found)["operator's CPU per leaf, 10,000 leaves against the first thousand"].met


def test_a_ratio_compares_the_sides_of_the_same_round() -> None:
    one = [{"rate": 100.0}, {"rate": 200.0}, {"rate": 50.0}]
    other = [{"rate": 100.0}, {"rate": 400.0}, {"rate": 50.0}]
    assert budgets.ratios(one, other, budgets.rate) == budgets.Spread(1.0, 0.5, 1.0)


def test_pages_and_tables_hold_what_was_found(tmp_path: Path) -> None:
    found = results()
    text = page.render(found)
    assert "| operator's CPU for a CSR leaf | ≤ 2 ms | 1.50 ms | yes |" in text
    assert "2 cores and 24 GiB" in text
    assert "100,000 leaves" in scaling.render(found["scale"])
    assert table.rates(found).row_count == 7
    assert table.budgets(found).row_count == len(budgets.budgets(found))
    plots.draw(found, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {f"bench-{name}.svg" for name in plots.PICTURES}


def test_a_picture_changes_only_with_its_figures(tmp_path: Path) -> None:
    found = results()
    plots.draw(found, tmp_path / "one")
    plots.draw(found, tmp_path / "two")
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
        assert b"<dc:date>" not in file.read_bytes()


def test_the_committed_pages_are_those_of_the_committed_figures() -> None:
    found = json.loads((DOCS / "benchmarks.json").read_text())
    assert page.render(found) == (DOCS / "benchmarks.md").read_text()
    assert scaling.render(found["scale"]) == (DOCS / "scaling.md").read_text()
    for name in plots.PICTURES:
        assert (DOCS / "images" / f"bench-{name}.svg").exists()


def test_a_page_says_when_others_used_the_machine() -> None:
    found = results()
    assert "disturbed" not in page.render(found)
    for side in found["small"].values():
        for entry in side:
            entry["foreign"] = 0.5
    assert "disturbed" in page.render(found)


def test_figures_are_kept_in_four_digits() -> None:
    assert bench.rounded({"a": [1.23456, 2], "b": "c"}) == {"a": [1.235, 2], "b": "c"}


def test_the_meter_sees_what_a_process_used() -> None:
    gauge = meter.Meter({"self": os.getpid()})
    before = gauge.read()
    while gauge.read().since(before)["self"] < 0.05:
        pass
    after = gauge.read()
    assert after.since(before)["self"] <= (after.at - before.at) * meter.CORES + 0.02
    assert 0.0 <= after.foreign(before) <= 1.0
    assert 0 < meter.rss_mib(os.getpid()) <= meter.peak_mib(os.getpid()) + 1


def test_a_course_is_told_step_by_step() -> None:
    readings = [
        meter.Reading(at=float(at), cpu={"operator": used}, own=0.0, machine=0.0)
        for at, used in ((0, 0.0), (10, 2.0), (15, 5.0))
    ]
    course = _course(readings[0], [(1000, readings[1]), (2000, readings[2])])
    assert [(step["ready"], step["rate"], step["cpu"]["operator"]) for step in course] == [
        (1000, 100.0, 2.0),
        (2000, 200.0, 3.0),
    ]


STACKS = """\
run (asyncio/runners.py:1);reconcile (meshca/engine/leaves.py:7);parse (meshca/pki/csr.py:2) 3
run (asyncio/runners.py:1);_write (meshca/kube/gateway.py:9);send (aiohttp/client.py:2);dumps (json/x.py:1) 1
run (asyncio/runners.py:1) 2
"""


def test_a_profile_names_parts_and_functions() -> None:
    stacks = list(profile.parse(STACKS))
    assert [times for _, times in stacks] == [3, 1, 2]
    parts = [profile.part(stack) for stack, _ in stacks]
    assert parts == [{"meshca.pki"}, {"json"}, {"interpreter and event loop"}]
    assert profile.functions(stacks[0][0]) == {
        "reconcile (meshca/engine/leaves.py)",
        "parse (meshca/pki/csr.py)",
    }
