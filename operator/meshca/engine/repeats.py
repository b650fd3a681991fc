"""Notices a step that is carried out over and over and changes nothing.

Decides when to stop trying for a while, so that a plan and an API server that disagree about what was
written (a field that is pruned, a webhook that undoes it) cost a few writes a minute and not all there
are. Never decides what the step should have been.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Final

from meshca.engine.recently import Recently
from meshca.planning.ca import KeySecret, Root
from meshca.planning.joining import Join
from meshca.planning.requested import RequestedKey
from meshca.planning.steps import GatherEvidence, ReadBack

if TYPE_CHECKING:
    from meshca.planning.steps import Step
    from meshca.planning.views import Meta

_READS: Final = (GatherEvidence, ReadBack)


class Repeats:
    """The steps that were carried out for each configuration within the last minute.

    Counted for each generation of its spec: a user who edits it again and again is no defect.
    """

    def __init__(self) -> None:
        self._done: Recently[tuple[str, int, str]] = Recently()

    def note(self, configuration: Meta, step: Step, now: float) -> None:
        """Remember that a step was carried out (seconds, monotonic)."""
        if not isinstance(step, _READS):
            self._done.note(_for(configuration, step), now)

    def problem(self, configuration: Meta, step: Step, now: float) -> str:
        """Say that a step has had no effect, or "" when it may be carried out."""
        if not self._done.too_often(_for(configuration, step), now):
            return ""
        return (
            f"{type(step).__name__} was carried out again and again within a minute and is still due:"
            " somebody undoes what the operator writes, or the API server does not keep it"
        )


def _for(configuration: Meta, step: Step) -> tuple[str, int, str]:
    return configuration.name, configuration.generation, _what(step)


def _what(step: Step) -> str:
    """Return what a step is about, without the versions of the objects it was decided on."""
    return f"{type(step).__name__}:" + "|".join(_text(getattr(step, item.name)) for item in fields(step))


def _text(value: object) -> str:
    if isinstance(value, Root | KeySecret | RequestedKey | Join):
        return value.meta.name
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else str(value)
