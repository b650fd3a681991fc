"""Programs that scenarios need beside the cluster: Helm 3 and OpenSSL.

Decides where they come from and that they are the very bytes expected; never runs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def helm3() -> Path:
    """Return the path of Helm 3, fetched into the cache on first use."""
    raise NotImplementedError
