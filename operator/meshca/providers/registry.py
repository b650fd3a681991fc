"""Finds the provider of a type among the installed entry points.

Decides nothing about CAs. A plug-in that does not load is a ``MisconfiguredError`` with its cause, for
the condition of the configuration that names it; it never takes others down.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

from meshca.errors import MisconfiguredError
from meshca.providers.api import CrossSigns

if TYPE_CHECKING:
    from meshca.providers.api import Provider

ENTRY_POINTS: Final = "meshca.providers"


class ProviderRegistry:
    """One provider instance for each type, made at first use."""

    def __init__(self) -> None:
        self._made: dict[str, Provider] = {}
        self._installed: tuple[str, ...] = ()

    def get(self, kind: str) -> Provider:
        """Return the provider of a type."""
        if kind not in self._made:
            self._made[kind] = _load(kind)
        return self._made[kind]

    def cross_signers(self) -> frozenset[str]:
        """Name the providers whose roots can sign another root; one that does not load cannot."""
        if not self._installed:
            # Read once: it goes through the metadata of every package, and nothing is installed meanwhile.
            self._installed = tuple(point.name for point in entry_points(group=ENTRY_POINTS))
        able = set()
        for name in self._installed:
            try:
                provider = self.get(name)
            except MisconfiguredError:
                # Told when it is asked to do something.
                continue
            if isinstance(provider, CrossSigns):
                able.add(name)
        return frozenset(able)


def _load(kind: str) -> Provider:
    found = tuple(entry_points(group=ENTRY_POINTS, name=kind))
    if not found:
        raise MisconfiguredError(f"spec.provider.type {kind!r}: no such provider is installed")
    try:
        provider: Provider = found[0].load()()
    except Exception as error:
        raise MisconfiguredError(
            f"spec.provider.type {kind!r}: the provider does not load ({type(error).__name__})"
        ) from error
    return provider
