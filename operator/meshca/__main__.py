"""The command ``meshca-operator``.

Decides exit codes and nothing else: settings, then logging, then ``meshca.runtime``, which is imported
late so that ``--help``, ``--version`` and a wrong setting answer at once.

Exit codes: 0 asked to stop, 1 the Lease was lost or something broke (start again), 2 the settings are
wrong (only a person can repair that).
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Final

from meshca import __version__, logs
from meshca.config import Settings
from meshca.errors import MisconfiguredError

if TYPE_CHECKING:
    from collections.abc import Sequence

STOPPED: Final = 0
BROKEN: Final = 1
MISCONFIGURED: Final = 2

_log = logging.getLogger("meshca")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the operator until it is told to stop and return its exit code."""
    try:
        settings = Settings.from_args(sys.argv[1:] if argv is None else argv, os.environ)
    except MisconfiguredError as error:
        print(f"meshca-operator: {error}", file=sys.stderr)
        return MISCONFIGURED
    except SystemExit:  # --help or --version has been answered
        return STOPPED
    logs.configure(settings.log_format, settings.log_level)
    _log.info("starting", extra={"version": __version__, "pod": settings.pod_name})
    try:
        from meshca.runtime import run  # noqa: PLC0415  late, as said above

        return run(settings)
    except MisconfiguredError as error:
        _log.error("cannot run: %s", error)
        return MISCONFIGURED
    except Exception:  # noqa: BLE001  the last place that can turn a crash into a log line
        _log.exception("stopped by a failure")
        return BROKEN


if __name__ == "__main__":
    sys.exit(main())
