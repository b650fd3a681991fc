"""Writes docs/interop.md from a run of every validator; fails where one of them cannot run."""

from __future__ import annotations

import sys
from pathlib import Path

from e2e.interop import page, run

PAGE = Path(__file__).parents[2] / "docs" / "interop.md"


def main() -> int:
    """Run everything and write the page; exit code 1, and no page, when a validator is missing."""
    found = run.everything()
    for name, reason in run.left_out.items():
        print(f"{name} cannot run here: {reason}", file=sys.stderr)
    if run.left_out:
        return 1
    PAGE.write_text(page.render(page.table(found.results), found.versions, run.sizes()))
    print(f"{PAGE} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
