"""What to do about each condition that is not as it should be, in one sentence.

Decides which conditions are faults, which are worth a note and which are as they should be. Never more
than a sentence: docs/concepts.md explains.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from meshca.api.v1alpha1.conditions import Reason


class Weight(IntEnum):
    """How bad something is; only WRONG makes a CA not fine."""

    FINE = 0
    NOTE = 1
    WRONG = 2


ADVICE: Final[dict[str, str]] = {
    Reason.PENDING: "wait; the message says for what",
    Reason.PROVIDER_ERROR: "see the message and the operator's log",
    Reason.ROOT_KEY_MISSING: "put the Secret back from a backup; signing goes on with the present signer",
    Reason.INVALID_CONFIGURATION: "repair the spec; the last accepted one stays in force",
    Reason.TRUST_DOMAIN_CONFLICT: "choose another spec.trustDomain",
    Reason.BUNDLE_CONFLICT: "choose another spec.trustBundle.configMapName",
    Reason.ROOT_EXPIRED: "recover with a new root: meshca rotate --force-without-cross-signing",
    Reason.ROOT_EXPIRING_SOON: "a generated root is rotated by itself; of an imported one, bring a new pair",
    Reason.ABORTED: "nothing, if it was meant; else ask again: meshca rotate",
    Reason.ROTATION_BLOCKED: "see the message; meshca rotate --force-without-cross-signing may permit it",
    Reason.CROSS_SIGNING_UNSUPPORTED: "permit dual trust: meshca rotate --force-without-cross-signing",
    Reason.ROTATION_QUEUED: "nothing: it begins when an older root is pruned",
    Reason.ADMISSION_POLICY_MISSING: "run helm upgrade again; nothing is signed until then",
    Reason.NAMESPACES_NOT_WRITABLE: "remove what is in the way there: a foreign ConfigMap, a policy, a quota",
    Reason.SECONDARY_BEHIND: "see why that cluster does not report, or un-register it",
    Reason.CLOCK_SKEW: "set the clocks: nothing irreversible is done until they agree",
    Reason.IDENTITY_TEMPLATE_CHANGED: "have workloads take their new identity, or put the template back",
    Reason.PRIMARY_MISMATCH: "check the join Secret; after a change of primary, apply a new invitation",
    Reason.PRIMARY_WENT_BACK: "look at the primary; accept its state with meshca.dev/accept-sequence",
    Reason.NOT_REGISTERED: "in the primary: meshca federation invite",
    Reason.CLUSTER_NAME_CONFLICT: "give one of both clusters another name, and invite it anew",
    Reason.PRIMARY_UNREACHABLE: "see network, address and CA in the join Secret; it is tried again by itself",
    Reason.PRIMARY_REFUSES: "in the primary: meshca federation invite; apply the new manifest here",
    Reason.JOIN_SECRET_INVALID: "apply the join manifest that meshca federation invite printed",
}
_LEAF: Final[dict[str, str]] = {
    Reason.PENDING: "create the ServiceAccount; the certificate follows by itself",
    Reason.RATE_LIMITED: "wait, or raise spec.limits of the CAConfiguration",
    Reason.DENIED: "ask for what spec.identity allows, in a new request",
    Reason.INVALID_REQUEST: "repair it, in a new request",
    Reason.POLICY_GAP: "delete it and create it again",
    Reason.MANAGED_KEYS_NOT_ALLOWED: "add the namespace to managedKeys.namespaces, or send a CSR",
    Reason.SECRET_CONFLICT: "delete the Secret, or choose another name",
    Reason.CONFIGURATION_NOT_FOUND: "create that CAConfiguration, or name another",
    Reason.SIGNER_NOT_READY: "see the CAConfiguration above",
}
_NOTES: Final = frozenset({Reason.ABORTED, Reason.ROTATION_QUEUED, Reason.PENDING})
_STOPPED: Final = frozenset({Reason.ROTATION_BLOCKED, Reason.CROSS_SIGNING_UNSUPPORTED})


def weigh(kind: str, status: str, reason: str) -> Weight:
    """Say how bad a condition of a CAConfiguration is."""
    if kind in {"Ready", "Reachable"}:
        return Weight.FINE if status == "True" else Weight.WRONG
    if kind == "RotationInProgress":
        if reason in _STOPPED:
            return Weight.WRONG
        return Weight.NOTE if reason in _NOTES else Weight.FINE
    return Weight.WRONG if status == "True" and kind in {"RootExpiringSoon", "Degraded"} else Weight.FINE


def advice(reason: str) -> str:
    """Say what to do about a condition of a CAConfiguration."""
    return ADVICE.get(reason, "see docs/concepts.md")


def leaf_advice(reason: str) -> str:
    """Say what to do about a leaf that has no certificate."""
    return _LEAF.get(reason, "see its conditions")
