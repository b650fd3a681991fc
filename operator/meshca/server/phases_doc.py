"""Writes diagram and table of the phases into a page: ``python -m meshca.server.phases_doc FILE``.

Decides where in the page they stand, between two marks; a test fails when the committed page is stale.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meshca.planning.phases import page_part

if TYPE_CHECKING:
    from collections.abc import Sequence

_PART: Final = re.compile(r"(?<=<!-- phases: generated -->\n).*?(?=<!-- phases: end -->)", re.DOTALL)


def main(arguments: Sequence[str]) -> int:
    """Renew the generated part of a page; returns the process's exit code."""
    page = Path(arguments[0])
    text, found = _PART.subn(lambda _: page_part(), page.read_text())
    if found != 1:
        sys.stderr.write(f"{page}: {found} places for the phases, wanted 1\n")
        return 1
    page.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
