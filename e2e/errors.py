"""What can go wrong in the harness, one class per decision of the caller.

Nothing here is ever raised by the operator.
"""

from __future__ import annotations

from typing import Any


class HarnessError(RuntimeError):
    """The harness could not do its work; the text says what to look at."""


class CannotRunError(HarnessError):
    """This machine cannot run the flavour at all; the text names what is missing."""


class ApiError(HarnessError):
    """The API server answered with an error; ``status`` is the HTTP code, ``body`` its Status object."""

    def __init__(self, status: int, body: dict[str, Any], call: str) -> None:
        self.status = status
        self.body = body
        self.reason = str(body.get("reason", ""))
        self.message = str(body.get("message", ""))
        super().__init__(f"{call}: {status} {self.reason}: {self.message}")
