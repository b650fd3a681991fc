"""The command line ``meshca``, also found by kubectl as ``kubectl meshca``: what a person asks of a CA.

Reads the cluster as the person who calls it. Writes ``spec.rotation`` where a rotation is asked for, and what
registers another cluster where one is invited; nothing else. Its libraries (typer, rich) are the optional
extra ``cli``: without them there is one sentence and exit code 2.
"""

from __future__ import annotations

import sys

_EXTRA = frozenset({"typer", "rich"})


def main() -> int:
    """Run the command line on ``sys.argv`` and return its exit code."""
    try:
        from meshca.cli.app import main as run  # noqa: PLC0415  an extra that need not be there
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.stderr.write("meshca: the command line is not installed: run pip install 'meshca[cli]'\n")
        return 2
    return run(sys.argv)
