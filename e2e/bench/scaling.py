"""docs/scaling.md, written from the figures of the simulated fleet of tests/perf."""

from __future__ import annotations

from typing import Any

JSON = dict[str, Any]

_PAGE = """
# Scaling

Written by `make bench ARGS=--docs`. What one leader does with {leaves:,} leaves of 72 hours: the real engine
in a simulation, on a virtual clock, with the objects on a disk in the place of an API server. CPU and memory
are the operator's alone; what a leaf costs the API server stands in [benchmarks.md](benchmarks.md).

## Figures

| what | found |
| --- | --- |
{figures}

![Renewals per second](images/bench-renewals.svg)

## How it behaves

**Start-up.** The leader lists all requests, page by page, and verifies each chain once. It is ready when the
listing is over. It writes nothing, and first issues and urgent renewals go ahead of the leaves that need only
a look. Until all chains are read no root is pruned.

**Memory** grows with the number of requests, not with their age, by the figure above; without leaves the
operator takes some 70 MiB. A request in the store is its spec with the CSR, and the facts of its certificate;
chains are not kept. Before a prune all requests are listed once more, and each page is let go when it was
looked at: that takes the same few pages however many requests there are.

**Renewals** are spread between 60 % and 90 % of a leaf's life by a hash of its uid. So even a fleet that was
made in one moment renews evenly: the first generation within the 30 % of the life in which it falls due, each
later one over a longer time, until renewals come at all times.

**A rotation** moves `rotation.reissuePerSecond` leaves a second, those that expire first first, and takes as
long as that needs. First issues and renewals go on beside it and before it. When a root becomes active, or
the rules of names change, the leader goes through all leaves once in one step; nothing else happens in the
meantime. It is the longest such step, and the figure above says how long it is.

## Limits, and what to turn

| what gets tight | what to turn |
| --- | --- |
| memory: the chart's limit is 512 MiB | `resources.limits.memory`: 150 MiB and twice the figure per leaf |
| time of a rotation | `rotation.reissuePerSecond`; it costs what as many issues a second cost |
| issue rate: one leader, one core for Python | a longer `leaf.ttl`: renewals come at leaves / (0.75 ttl) |
| a slow API server: all workers wait for it | `workers`, at most 256 |
| one tenant that asks for everything | `limits.csrMaxPerSecond` and `limits.csrMaxConcurrent` |
| etcd: some 6 KiB a request, anew at each renewal | a longer `leaf.ttl` |

RSA keys cost more than all of that: a signature by an RSA 2048 signer takes ten times one by P-256, and a
managed RSA key some 50 ms. More replicas do not issue faster; they take over.
"""


def render(found: JSON) -> str:
    """Return the page."""
    rows = "\n".join(f"| {what} | {said} |" for what, said in _figures(found))
    return _PAGE.lstrip("\n").format(leaves=found["leaves"], figures=rows)


def _figures(found: JSON) -> list[tuple[str, str]]:
    started, renewal, rotation = found["startup"], found["renewal"], found["rotation"]
    start = f"{started['cpu_seconds']:.0f} s of CPU, {started['writes']} writes, {_step(started)}"
    memory = f"{started['rss_mib']:.0f} MiB, {started['peak_mib']:.0f} MiB at most while starting"
    moved = (
        f"{rotation['reissue_seconds'] / 60:.1f} min, {rotation['most_in_a_second']} in a second at most,"
        f" {rotation['cpu_ms']:.2f} ms of CPU a leaf, {_step(rotation)}"
    )
    return [
        ("first issue", f"{found['issue']['cpu_ms']:.2f} ms of CPU a leaf"),
        ("start-up on leaves that are all ready", start),
        ("memory", f"{memory}: {started['kib_per_leaf']:.1f} KiB a leaf"),
        *((f"renewals, {each['name']} generation", _smooth(each)) for each in renewal["generations"]),
        ("a renewal", f"{renewal['cpu_ms']:.2f} ms of CPU"),
        ("a rotation of all at 50 a second", moved),
        ("memory after two renewals and the rotation", f"{rotation['peak_mib']:.0f} MiB at most"),
    ]


def _step(found: JSON) -> str:
    return f"{found['longest_step_seconds']:.2f} s in one step at most"


def _smooth(found: JSON) -> str:
    mean, peak = found["mean_per_second"], found["peak_of_mean"]
    return f"{mean:.2f} a second; the busiest half hour {peak:.2f} times as many"
