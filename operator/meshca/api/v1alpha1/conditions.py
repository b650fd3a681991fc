"""Conditions: their types, their reasons, and how a new one follows an old one.

Decides when ``lastTransitionTime`` moves; never what is true.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

from pydantic import StringConstraints

from meshca.api.v1alpha1.base import StatusModel
from meshca.api.v1alpha1.scalars import Time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
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
    """Every condition reason that meshca writes; which goes with which type is in ``REASONS``."""

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
    INITIALISED = "Initialised"
    PROVIDER_ERROR = "ProviderError"
    ROOT_KEY_MISSING = "RootKeyMissing"
    INVALID_CONFIGURATION = "InvalidConfiguration"
    TRUST_DOMAIN_CONFLICT = "TrustDomainConflict"
    BUNDLE_CONFLICT = "BundleConflict"
    NONE = "None"
    PREPARE = "Prepare"
    PUBLISH = "Publish"
    ACTIVATE = "Activate"
    REISSUE = "Reissue"
    COMPLETE = "Complete"
    COMPLETED = "Completed"
    ABORTED = "Aborted"
    ROTATION_BLOCKED = "RotationBlocked"
    CROSS_SIGNING_UNSUPPORTED = "CrossSigningUnsupported"
    ROTATION_QUEUED = "RotationQueued"
    ROOT_EXPIRING_SOON = "RootExpiringSoon"
    ROOT_EXPIRED = "RootExpired"
    ADMISSION_POLICY_MISSING = "AdmissionPolicyMissing"
    NAMESPACES_NOT_WRITABLE = "NamespacesNotWritable"
    SECONDARY_BEHIND = "SecondaryBehind"
    CLOCK_SKEW = "ClockSkew"
    IDENTITY_TEMPLATE_CHANGED = "IdentityTemplateChanged"
    AS_EXPECTED = "AsExpected"
    CONNECTED = "Connected"
    PRIMARY_UNREACHABLE = "PrimaryUnreachable"
    PRIMARY_REFUSES = "PrimaryRefuses"
    JOIN_SECRET_INVALID = "JoinSecretInvalid"  # noqa: S105  a reason, not a password
    PRIMARY_MISMATCH = "PrimaryMismatch"
    PRIMARY_WENT_BACK = "PrimaryWentBack"
    NOT_REGISTERED = "NotRegistered"
    CLUSTER_NAME_CONFLICT = "ClusterNameConflict"
    REGISTERED = "Registered"
    NAMESPACE_TAKEN = "NamespaceTaken"
    NOT_THE_PRIMARY = "NotThePrimary"
    REPORTING = "Reporting"
    NEVER_SEEN = "NeverSeen"
    SILENT = "Silent"
    UP_TO_DATE = "UpToDate"
    BEHIND = "Behind"


_PHASES: Final = (Reason.PREPARE, Reason.PUBLISH, Reason.ACTIVATE, Reason.REISSUE, Reason.COMPLETE)
_ENDS: Final = (Reason.NONE, Reason.COMPLETED, Reason.ABORTED)
_STOPS: Final = (Reason.ROTATION_BLOCKED, Reason.CROSS_SIGNING_UNSUPPORTED, Reason.ROTATION_QUEUED)
REASONS: Final[dict[str, tuple[Reason, ...]]] = {
    "Ready, on a leaf": (
        Reason.ISSUED,
        Reason.PENDING,
        Reason.RATE_LIMITED,
        Reason.DENIED,
        Reason.INVALID_REQUEST,
        Reason.POLICY_GAP,
        Reason.MANAGED_KEYS_NOT_ALLOWED,
        Reason.SECRET_CONFLICT,
        Reason.CONFIGURATION_NOT_FOUND,
        Reason.SIGNER_NOT_READY,
    ),
    "Ready, on a CA": (
        Reason.INITIALISED,
        Reason.PENDING,
        Reason.PROVIDER_ERROR,
        Reason.ROOT_KEY_MISSING,
        Reason.INVALID_CONFIGURATION,
        Reason.TRUST_DOMAIN_CONFLICT,
        Reason.BUNDLE_CONFLICT,
        Reason.ROOT_EXPIRED,
    ),
    "Ready, on an IntermediateCertificateRequest": (
        Reason.ISSUED,
        Reason.PENDING,
        Reason.DENIED,
        Reason.INVALID_REQUEST,
        Reason.POLICY_GAP,
        Reason.SIGNER_NOT_READY,
    ),
    "Ready, on a FederatedCluster": (
        Reason.REGISTERED,
        Reason.PENDING,
        Reason.NAMESPACE_TAKEN,
        Reason.CONFIGURATION_NOT_FOUND,
        Reason.NOT_THE_PRIMARY,
        Reason.SIGNER_NOT_READY,
    ),
    "Reachable, on a FederatedCluster": (Reason.REPORTING, Reason.NEVER_SEEN, Reason.SILENT),
    "Converged, on a FederatedCluster": (Reason.UP_TO_DATE, Reason.NEVER_SEEN, Reason.BEHIND),
    "RotationInProgress": (*_PHASES, *_ENDS, *_STOPS),
    "RootExpiringSoon": (Reason.ROOT_EXPIRING_SOON, Reason.ROOT_EXPIRED, Reason.AS_EXPECTED),
    "Degraded": (
        Reason.ADMISSION_POLICY_MISSING,
        Reason.NAMESPACES_NOT_WRITABLE,
        Reason.SECONDARY_BEHIND,
        Reason.CLOCK_SKEW,
        Reason.IDENTITY_TEMPLATE_CHANGED,
        Reason.PRIMARY_MISMATCH,
        Reason.PRIMARY_WENT_BACK,
        Reason.NOT_REGISTERED,
        Reason.CLUSTER_NAME_CONFLICT,
        Reason.JOIN_SECRET_INVALID,
        Reason.AS_EXPECTED,
    ),
    "Reachable, on a secondary's CAConfiguration": (
        Reason.CONNECTED,
        Reason.PRIMARY_UNREACHABLE,
        Reason.PRIMARY_REFUSES,
        Reason.JOIN_SECRET_INVALID,
    ),
}


class Condition(StatusModel):
    """One observation about an object, in the shape of ``metav1.Condition``."""

    keeps_empty: ClassVar[bool] = True

    type: str = ""
    status: ConditionStatus = "Unknown"
    observed_generation: int = 0
    last_transition_time: Time | None = None
    reason: str = ""
    message: Annotated[str, StringConstraints(max_length=MESSAGE_MAX_LENGTH)] = ""


def observed(status: Mapping[str, Any]) -> tuple[Condition, ...]:
    """Read the conditions of a status that anybody may have written; what is none is left out."""
    conditions = status.get("conditions")
    read = (Condition.read(item) for item in conditions) if isinstance(conditions, list) else ()
    return tuple(condition for condition in read if condition.type)


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
