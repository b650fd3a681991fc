"""Which histories a run of the tests lives through: a fixed set, and fresh ones that nobody has seen.

Decides the numbers once for all workers of a run: MESHCA_SEED if it is set, so that a run can be repeated
whole, else what the workers have in common, else chance.
"""

from __future__ import annotations

import hashlib
import os
import secrets

FIXED = 24
FRESH = 8
FIXED_MESHES = 3


def fixed() -> range:
    return range(1, FIXED + 1)


def fresh() -> range:
    first = first_fresh()
    return range(first, first + FRESH)


def fixed_meshes() -> range:
    return range(1, FIXED_MESHES + 1)


def first_fresh() -> int:
    """Return the first of the fresh seeds of this run."""
    if chosen := os.environ.get("MESHCA_SEED"):
        return int(chosen)
    # Every worker has to collect the same tests.
    shared = os.environ.get("PYTEST_XDIST_TESTRUNUID") or secrets.token_hex(8)
    return 10_000 + int(hashlib.sha256(shared.encode()).hexdigest()[:7], 16)
