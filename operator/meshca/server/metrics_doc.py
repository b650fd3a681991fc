"""Generates docs/metrics.md from the metrics themselves: ``python -m meshca.server.metrics_doc FILE``.

Decides the form of that page only; a test fails when the committed one is stale.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prometheus_client import Histogram
from prometheus_client.metrics import MetricWrapperBase

from meshca.server.metrics import LEAF_STATES, PHASES, Metrics

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_HEAD: Final = """# Metrics

Every replica serves them at `/metrics` on its HTTP port; figures about CAs, leaves and the queue come from
the leader. Names and labels are stable. No label grows with the number of leaves: `configuration` and `root`
are names of objects that only administrators create, all others are fixed words.

| metric | type | labels | meaning |
|---|---|---|---|
"""
_LABELS: Final = f"""
## Label values

| label | values |
|---|---|
| `configuration` | name of a CAConfiguration |
| `root` | name of a CARoot |
| `kind` of `meshca_leaf_issue_duration_seconds` | `csr` (the key never leaves the workload), `managed` |
| `kind`, `verb` of `meshca_api_writes_total` | kind or kind`/status`; `create`, `update`, `apply`, ... |
| `state` | {", ".join(f"`{state}`" for state in LEAF_STATES)} |
| `phase` | {", ".join(f"`{phase}`" for phase in PHASES)} |
| `urgency` | `control` (CA objects), `spread` (a bundle, everywhere), `expiring` (past 90 %), `first`, ... |
| `reason` | a reason of condition `Ready` |

The usual `process_*` and `python_gc_*` metrics are served too.
"""


def rows() -> Iterator[tuple[str, str, str, str]]:
    """Yield name, type, labels and help of each metric of our own, as Prometheus shows it."""
    metrics = Metrics()
    for metric in vars(metrics).values():
        if not isinstance(metric, MetricWrapperBase):
            continue
        described = next(iter(metric.describe()))
        suffix = "_total" if described.type == "counter" else ""
        labels = ", ".join(f"`{label}`" for label in metric._labelnames) or "none"  # noqa: SLF001  no accessor
        unit = " Buckets in seconds." if isinstance(metric, Histogram) else ""
        yield described.name + suffix, described.type, labels, described.documentation + unit
    yield "meshca_build_info", "gauge", "`version`, `python`", "Always 1; what is running."


def page() -> str:
    """Render the whole page."""
    table = "".join(
        f"| `{name}` | {kind} | {labels} | {text} |\n" for name, kind, labels, text in sorted(rows())
    )
    return _HEAD + table + _LABELS


def main(argv: Sequence[str]) -> int:
    """Write the page to the file named first."""
    Path(argv[0]).write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
