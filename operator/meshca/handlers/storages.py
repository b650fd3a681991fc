"""Storages for Kopf that store nothing, so that it never writes an annotation, a finalizer or a status.

Decides nothing. Kopf's default storages also deep-copy every body for each event, which was nearly half
of the cost of an event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from kopf import DiffBaseStorage, ProgressStorage

if TYPE_CHECKING:
    import kopf


class NullDiffBaseStorage(DiffBaseStorage):
    """Remembers no last-handled state."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Return an empty essence: nothing is ever compared."""
        return cast("kopf.BodyEssence", {})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        """Return nothing: nothing was stored."""
        return None

    def store(self, **_: Any) -> None:
        """Store nothing."""


class NullProgressStorage(ProgressStorage):
    """Remembers no progress of handlers."""

    def fetch(self, **_: Any) -> None:
        """Return nothing: nothing was stored."""
        return

    def store(self, **_: Any) -> None:
        """Store nothing."""

    def purge(self, **_: Any) -> None:
        """Remove nothing."""

    def touch(self, **_: Any) -> None:
        """Touch nothing."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        """Return the essence as it is."""
        return essence
