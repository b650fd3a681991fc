"""How an item of work ended, told by a reconciler to the worker that runs it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """Well, or to be tried again with back-off; and whether it counts against the rate limits.

    That is when anything was signed, or written for the sake of a rotation.
    """

    retry: bool = False
    signed: bool = False
