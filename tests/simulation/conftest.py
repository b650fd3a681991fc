"""Says which fresh histories a run lives through, so that it can be repeated."""

from __future__ import annotations

import os

from tests.simulation import seeds


def pytest_configure() -> None:
    """Choose once, before workers are started."""
    os.environ.setdefault("MESHCA_SEED", str(seeds.first_fresh()))


def pytest_report_header() -> str:
    first = int(os.environ["MESHCA_SEED"])
    last = first + seeds.FRESH - 1
    return f"fresh histories: seeds {first} to {last}; the same again with MESHCA_SEED={first}"
