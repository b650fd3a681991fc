"""One run of everything: each validator asked about each case, and what could not be asked here.

Decides nothing about verdicts. A validator that this machine cannot run is left out and named.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from e2e.errors import CannotRunError
from e2e.interop import material, validators
from e2e.interop.situations import MAIN_KINDS, OTHER_KINDS, VALIDATORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from e2e.interop.material import Case

left_out: dict[str, str] = {}
"""Validators that could not run in this process, with the reason of each."""


@dataclass(frozen=True, slots=True)
class Run:
    """What each validator that could run answered, by its name and the case's."""

    results: dict[str, dict[str, str]]
    versions: dict[str, str]


def everything() -> Run:
    """Ask every validator about every case, two at a time."""
    cases = list(material.cases())
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda name: _asked(name, cases), VALIDATORS))
    results = {name: found for name, found in zip(VALIDATORS, answers, strict=True) if found}
    return Run(results, {name: validators.VERSION[name]() for name in results})


def sizes() -> dict[str, tuple[int, ...]]:
    """Return for each kind of CA key the bytes of a chain with no, one and two cross-certificates."""
    return {
        kind: tuple(material.served_bytes(kind, crosses) for crosses in range(3))
        for kind in (*MAIN_KINDS, *OTHER_KINDS)
    }


def _asked(name: str, cases: Sequence[Case]) -> dict[str, str] | None:
    try:
        return validators.ASK[name](cases)
    except CannotRunError as error:
        left_out[name] = str(error)
        return None
