"""Every error that meshca raises on purpose, one class per decision of the caller.

::

    MeshCAError                 never raised directly
    ├── RefusedError            the request will not be granted as it stands; no retry
    │   ├── DeniedError         policy says no (who asks, for which name)
    │   └── InvalidError        malformed, unsupported or out of bounds
    ├── TransientError          try again later, after ``retry_after`` seconds at the earliest
    │   ├── ThrottledError      the API server asked us to slow down (429)
    │   ├── UnknownOutcomeError a write was sent and no answer came: observe before trying again
    │   └── LeaseExpiringError  not sent, since another may lead before it ends: stop, do nothing instead
    ├── ConflictError           somebody else wrote first: observe again
    │   └── AlreadyExistsError  the object to be created is there already
    ├── NotFoundError           the object is not there
    ├── ForbiddenError          the API server refuses us: a missing RBAC rule or an admission policy
    ├── GoneError               a watch's resourceVersion is too old: list again
    └── MisconfiguredError      only a person can repair it (settings, credentials, CRDs missing)

Texts name fields, values and bounds. They never hold key material: callers put in only what may be
shown in a status, an Event or a log line.
"""

from __future__ import annotations


class MeshCAError(Exception):
    """Base of the tree; never raised directly."""

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or type(self).__name__.removesuffix("Error")


class RefusedError(MeshCAError):
    """The request is not granted as it stands, and asking again will not help."""


class DeniedError(RefusedError):
    """Policy does not give this name, key or lifetime to this requester."""


class InvalidError(RefusedError):
    """The input is malformed, of an unsupported kind, or out of bounds."""


class TransientError(MeshCAError):
    """The attempt failed for a reason that passes; ``retry_after`` is in seconds, 0 = own back-off."""

    def __init__(self, message: str, *, reason: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message, reason=reason)
        self.retry_after = retry_after


class ThrottledError(TransientError):
    """The API server answered 429."""


class UnknownOutcomeError(TransientError):
    """A write got no answer, so it may or may not have happened."""


class LeaseExpiringError(TransientError):
    """A write was not sent, because the Lease may be lost before it ends; nor may anything else be."""


class ConflictError(MeshCAError):
    """A precondition (resourceVersion, uid, existence) no longer holds: observe again."""


class AlreadyExistsError(ConflictError):
    """The object to be created is there already."""


class NotFoundError(MeshCAError):
    """The object is not there."""


class ForbiddenError(MeshCAError):
    """The API server refuses the call: a missing RBAC rule, or an admission policy said no."""


class GoneError(MeshCAError):
    """The resourceVersion of a watch or a list page has expired: list again."""


class MisconfiguredError(MeshCAError):
    """Only a person can repair it: settings, credentials, missing CRDs."""
