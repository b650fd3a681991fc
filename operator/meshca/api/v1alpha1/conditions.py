"""Conditions: their types, their reasons, and how a new one follows an old one.

Decides when ``lastTransitionTime`` moves; never what is true.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from meshca.api.v1alpha1.base import StatusModel
from meshca.api.v1alpha1.scalars import Time

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

ConditionStatus = Literal["True", "False", "Unknown"]
MESSAGE_MAX_LENGTH: Final = 4096


class ConditionType(StrEnum):
    """Every condition type that meshca writes."""

    READY = "Ready"
    ROTATION_IN_PROGRESS = "RotationInProgress"
    ROOT_EXPIRING_SOON = "RootExpiringSoon"
    DEGRADED = "Degraded"
    REACHABLE = "Reachable"
    CONVERGED = "Converged"


class Reason(StrEnum):
    """Every condition reason that meshca writes, by the condition it belongs to."""

    # Ready, on a leaf
    ISSUED = "Issued"
    PENDING = "Pending"
    RATE_LIMITED = "RateLimited"
    DENIED = "Denied"
    INVALID_REQUEST = "InvalidRequest"
    POLICY_GAP = "PolicyGap"
    MANAGED_KEYS_NOT_ALLOWED = "ManagedKeysNotAllowed"
    SECRET_CONFLICT = "SecretConflict"  # noqa: S105  a reason, not a password
    CONFIGURATION_NOT_FOUND = "ConfigurationNotFound"
    SIGNER_NOT_READY = "SignerNotReady"
    # Ready, on a CA
    INITIALISED = "Initialised"
    PROVIDER_ERROR = "ProviderError"
    ROOT_KEY_MISSING = "RootKeyMissing"
    INVALID_CONFIGURATION = "InvalidConfiguration"
    TRUST_DOMAIN_CONFLICT = "TrustDomainConflict"
    BUNDLE_CONFLICT = "BundleConflict"
    # RotationInProgress: the name of a phase, or
    NONE = "None"
    COMPLETED = "Completed"
    ABORTED = "Aborted"
    ROTATION_BLOCKED = "RotationBlocked"
    CROSS_SIGNING_UNSUPPORTED = "CrossSigningUnsupported"
    ROTATION_QUEUED = "RotationQueued"
    # RootExpiringSoon
    ROOT_EXPIRING_SOON = "RootExpiringSoon"
    ROOT_EXPIRED = "RootExpired"
    # Degraded
    ADMISSION_POLICY_MISSING = "AdmissionPolicyMissing"
    NAMESPACES_NOT_WRITABLE = "NamespacesNotWritable"
    SECONDARY_BEHIND = "SecondaryBehind"
    CLOCK_SKEW = "ClockSkew"
    IDENTITY_TEMPLATE_CHANGED = "IdentityTemplateChanged"
    # False of RootExpiringSoon, Degraded
    AS_EXPECTED = "AsExpected"


class Condition(StatusModel):
    """One observation about an object, in the shape of ``metav1.Condition``."""

    keeps_empty: ClassVar[bool] = True

    type: str = ""
    status: ConditionStatus = "Unknown"
    observed_generation: int = 0
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


def find_condition(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """Return the condition of that type, or ``None``."""
    return next((condition for condition in conditions if condition.type == kind), None)


def is_true(conditions: Iterable[Condition], kind: str) -> bool:
    """Tell whether the condition of that type is there and True."""
    found = find_condition(conditions, kind)
    return found is not None and found.status == "True"


def set_condition(
    existing: Iterable[Condition],
    kind: str,
    status: ConditionStatus,
    reason: str,
    message: str,
    *,
    observed_generation: int,
    now: datetime,
) -> tuple[Condition, ...]:
    """Return the conditions with this one set, in the old order, a new type at the end.

    ``lastTransitionTime`` moves only when ``status`` does. ``message`` is cut at 4096 characters. A
    second condition of the same type (somebody else's mistake) is dropped.
    """
    kept = tuple(existing)
    old = find_condition(kept, kind)
    unchanged = old is not None and old.status == status and old.last_transition_time is not None
    new = Condition(
        type=str(kind),
        status=status,
        observed_generation=observed_generation,
        last_transition_time=old.last_transition_time if old is not None and unchanged else now,
        reason=str(reason),
        message=message[:MESSAGE_MAX_LENGTH],
    )
    if old is None:
        return (*kept, new)
    return tuple(new if c is old else c for c in kept if c is old or c.type != kind)
