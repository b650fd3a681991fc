"""``python -m tests.simulation``: replay histories by number, or run many."""

from __future__ import annotations

import sys

from tests.simulation import history


def main() -> int:
    failed = 0
    for text in sys.argv[1:]:
        report = history.run(int(text))
        print(report)  # noqa: T201
        if report.found:
            failed += 1
            print("\n".join(report.story))  # noqa: T201
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
