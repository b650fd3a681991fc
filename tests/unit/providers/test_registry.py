"""Providers are found by entry point; one that does not load is said, not hidden."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import pytest

from meshca.errors import MisconfiguredError
from meshca.providers import registry
from meshca.providers.api import CrossSigns
from meshca.providers.builtin import BuiltinProvider
from meshca.providers.registry import ProviderRegistry

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class EntryPoint:
    """A plug-in as the packaging metadata shows it."""

    load: Callable[[], object]


def installed(monkeypatch: pytest.MonkeyPatch, load: Callable[[], object]) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda **_: (EntryPoint(load),))


def test_the_builtin_provider_is_installed_and_made_once() -> None:
    found = ProviderRegistry()
    provider = found.get("Builtin")
    assert isinstance(provider, BuiltinProvider)
    assert isinstance(provider, CrossSigns)
    assert found.get("Builtin") is provider


def test_012_an_unknown_provider_is_named() -> None:
    with pytest.raises(MisconfiguredError, match="'Nowhere': no such provider is installed"):
        ProviderRegistry().get("Nowhere")


def test_a_broken_plug_in_is_told_with_its_kind_of_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> object:
        raise ImportError("secret detail")

    installed(monkeypatch, broken)
    with pytest.raises(MisconfiguredError, match="does not load \\(ImportError\\)") as caught:
        ProviderRegistry().get("Remote")
    assert "secret detail" not in caught.value.message


def test_a_plug_in_that_cannot_be_made_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[type] = [BuiltinProvider]

    def load() -> object:
        return outcomes.pop() if len(outcomes) == 2 else _Unmakeable

    installed(monkeypatch, load)
    found = ProviderRegistry()
    with pytest.raises(MisconfiguredError, match="RuntimeError"):
        found.get("Remote")
    outcomes.append(BuiltinProvider)
    assert isinstance(found.get("Remote"), BuiltinProvider)


class _Unmakeable:
    def __init__(self) -> None:
        raise RuntimeError


def test_installed_packages_are_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[str] = []

    def search(**wanted: str) -> object:
        if "name" not in wanted:
            searched.append(wanted["group"])
        return entry_points(**wanted)

    monkeypatch.setattr(registry, "entry_points", search)
    found = ProviderRegistry()
    assert [found.cross_signers() for _ in range(3)] == [frozenset({"Builtin"})] * 3
    assert searched == [registry.ENTRY_POINTS]
