"""``make chart``: lint with both Helms, write the snapshots anew, pack the chart into dist/."""

from __future__ import annotations

import sys

from e2e.chart import render
from e2e.errors import HarnessError


def main() -> None:
    """Do all three, stopping at the first thing that Helm does not like."""
    for version in render.VERSIONS:
        _helm("lint", "--strict", str(render.CHART), version=version)
    render.SNAPSHOTS.mkdir(exist_ok=True)
    for case in render.CASES:
        render.snapshot_file(case).write_text(render.snapshot(case))
        print(f"wrote {render.snapshot_file(case)}")
    _helm("package", str(render.CHART), "--destination", str(render.CHART.parents[1] / "dist"), version=4)


def _helm(*arguments: str, version: int) -> None:
    done = render.helm(*arguments, version=version)
    if done.returncode:
        raise HarnessError(f"helm {version} {arguments[0]}: {done.stdout}{done.stderr}")
    print(f"helm {version} {arguments[0]}: {done.stdout.strip().splitlines()[-1]}")


if __name__ == "__main__":
    try:
        main()
    except HarnessError as error:
        sys.exit(str(error))
