"""docs/benchmarks.md, written from the figures of one run; nothing in it is typed by hand."""

from __future__ import annotations

import statistics
from itertools import chain
from typing import TYPE_CHECKING, Any

from e2e.bench import budgets, table
from e2e.bench.names import ETCD, OPERATOR, SERVER

if TYPE_CHECKING:
    from collections.abc import Iterable

JSON = dict[str, Any]

_HEAD = """
# Benchmarks

Written by `make bench ARGS=--docs`, from [benchmarks.json](benchmarks.json). {machine}

The API server (with etcd, no fsync), the operator and the load share that machine, so a figure of one
machine says little about another: compare within the tables. *The bare limit* is the least that any signer
in Python must do: watch, check nothing, sign with a real key, write the status once. It takes turns with
the operator within each round; *of bare* is the median of the ratios of the rounds. *Others used* is the
part of the machine that programs outside of the benchmark took meanwhile: on a quiet machine it is next to
nothing, and a figure with more is to be read with care.
"""
_RATES = """
## Issuing

{count:,} leaves in {rounds} rounds, {large:,} in {large_rounds}; {in_flight} creates in flight, from create
to Ready. *Half load* creates at half the rate that the same round had reached, whatever becomes of earlier
ones. CPU in ms per leaf, writes per leaf from the audit log with the client's create. Median
(lowest..highest).
"""
_BUDGETS = """
## Budgets

What this project promises itself, and what was found in this run.
"""
_MORE = """
## Restart and rotation
"""
_PLOTS = """
## Pictures

![Leaves per second](images/bench-rates.svg)

![CPU per leaf](images/bench-cpu.svg)

![CPU per leaf as leaves become more](images/bench-flatness.svg)
"""
IN_FLIGHT = 16
QUIET = 0.1
"""Part of the machine that others may use without a word."""


def render(results: JSON) -> str:
    """Return the page."""
    sizes = results["sizes"]
    parts = [
        _HEAD.format(machine=_machine(results["machine"])),
        _warning(results),
        _BUDGETS,
        _markdown(("what", "budget", "found", "met"), _judged(results)),
        _RATES.format(in_flight=IN_FLIGHT, **sizes),
        _markdown(("side", "leaves", *table.COLUMNS), table.rows(results)),
        _MORE,
        _restart(results["restart"]),
        _rotation(results["rotation"]),
        _PLOTS,
    ]
    return "\n".join(part.strip("\n") + "\n" for part in parts if part)


def _warning(results: JSON) -> str:
    """Say so when the figures are not those of a quiet machine."""
    rounds = chain.from_iterable(chain(results["small"].values(), results["large"].values()))
    share = statistics.median(each["foreign"] for each in rounds)
    if share <= QUIET:
        return ""
    return (
        f"**This run was disturbed**: other programs used {share:.0%} of the machine. What stands here in"
        " seconds and milliseconds is too high for it, and rates compare but roughly, since the sides of a"
        " round saw different disturbances; numbers of writes are right.\n"
    )


def _machine(found: JSON) -> str:
    return (
        f"Run on {found['cores']} cores and {found['memory_gib']} GiB, Python {found['python']},"
        f" Kubernetes {found['kubernetes']}."
    )


def _judged(results: JSON) -> Iterable[tuple[str, ...]]:
    for line in budgets.budgets(results):
        found = table.said(line.found, 2, table.unit(line))
        yield line.what, table.bound(line), found, "yes" if line.met else "**no**"


def _markdown(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _restart(found: JSON) -> str:
    return (
        f"**Restart with {found['leaves']:,} ready leaves**: ready after {found['ready_seconds']:.1f} s, with"
        f" every leaf listed; a request made meanwhile was issued after {found['first_issue_seconds']:.1f} s;"
        f" every chain was verified again after {found['settled_seconds']:.1f} s and"
        f" {found['cpu_seconds']:.1f} s of CPU;"
        f" {found['writes']} writes besides the Lease's; {found['peak_mib']:.0f} MiB at most.\n"
    )


def _rotation(found: JSON) -> str:
    cpu = ", ".join(
        f"{name} {found['cpu'][key]:.1f} ms"
        for name, key in (("operator", OPERATOR), ("API server", SERVER), ("etcd", ETCD))
    )
    return (
        f"**Rotation of {found['leaves']:,} leaves** at the default `reissuePerSecond` of 50: complete after"
        f" {found['seconds']:.0f} s, of which {found['reissue_seconds']:.0f} s moved the leaves, at"
        f" {found['reissue_rate']:.1f} a second; {found['leaf_writes']:.2f} writes for each leaf and"
        f" {found['other_writes']} others; CPU per leaf: {cpu}.\n"
    )
