"""How long a request may take: what its parameter ``timeout`` says, a duration as Go writes it."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from tests.fakes.apiserver import status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.fakes.apiserver.faults import RequestInfo

LONGEST = 60.0
# What the real server certainly does not manage; here no time passes at all.
SHORTEST = 0.0001
_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|ms|s|m|h)")
_DURATION = re.compile(rf"[-+]?(0|({_PART.pattern})+)")


def seconds(info: RequestInfo, params: Mapping[str, str]) -> float:
    """Return the seconds after which the answer is 504; a watch has no such end."""
    text = params.get("timeout", "")
    if info.verb == "watch":
        return math.inf
    if text and not _DURATION.fullmatch(text):
        raise status.bad_timeout(text)
    wanted = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    # None, or one that is over already, means the server's own.
    return min(wanted, LONGEST) if wanted and not text.startswith("-") else LONGEST
