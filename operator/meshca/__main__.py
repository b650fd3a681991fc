"""The ``meshca-operator`` command.

Decides the exit code: 0 after a signal, 1 when the Lease was lost or a part broke, 2 when settings are
wrong. Everything else is in ``runtime``, which is imported late so that ``--version`` and ``--help``
answer at once.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from meshca import logs
from meshca.config import Settings
from meshca.errors import MisconfiguredError

if TYPE_CHECKING:
    from collections.abc import Sequence

MISCONFIGURED = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one replica of the operator and return the process's exit code."""
    try:
        settings = Settings.from_args(sys.argv[1:] if argv is None else argv, os.environ)
    except MisconfiguredError as error:
        print(f"meshca-operator: {error.message}", file=sys.stderr)
        return MISCONFIGURED
    logs.configure(settings.log_format, settings.log_level)
    from meshca.runtime import run  # noqa: PLC0415  heavy, see above

    try:
        return run(settings)
    except MisconfiguredError as error:
        print(f"meshca-operator: {error.message}", file=sys.stderr)
        return MISCONFIGURED


if __name__ == "__main__":
    sys.exit(main())
