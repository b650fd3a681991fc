"""Why a request is not granted now: one small check for each reason, in the order in which they are told.

Decides from a LeafSnapshot alone; every message says what to do. Names and keys are checked elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshca.api.names import RESERVED_SECRET_PREFIX
from meshca.api.v1alpha1.conditions import Reason
from meshca.api.v1alpha1.scalars import format_duration, format_time, parse_duration
from meshca.errors import InvalidError
from meshca.pki.profile import LEAF_TTL_MIN, MIN_REMAINING
from meshca.planning.authority import POLICY_SETTLES

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from meshca.planning.authority import Authority
    from meshca.planning.leaf import LeafSnapshot
    from meshca.planning.views import LeafView


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason constant and a sentence that says what to do."""

    reason: str
    message: str


def wanted_ttl(leaf: LeafView, authority: Authority) -> timedelta:
    """Return the lifetime a request gets; raises ``InvalidError`` when it asks for one not allowed."""
    try:
        ttl = parse_duration(leaf.spec.ttl) if leaf.spec.ttl else authority.leaf_ttl
    except ValueError as error:
        raise InvalidError(f"spec.ttl {leaf.spec.ttl!r} {error}") from None
    if ttl < LEAF_TTL_MIN:
        raise InvalidError(f"spec.ttl is {leaf.spec.ttl}, below the minimum {format_duration(LEAF_TTL_MIN)}")
    if ttl > authority.leaf_max_ttl:
        raise InvalidError(
            f"spec.ttl is {leaf.spec.ttl}, above the configuration's spec.leaf.maxTTL of"
            f" {format_duration(authority.leaf_max_ttl)}"
        )
    return ttl


def _admission_in_force(snapshot: LeafSnapshot, _: Authority) -> Refusal | None:
    if snapshot.admission.in_force:
        return None
    return Refusal(Reason.SIGNER_NOT_READY, snapshot.admission.message)


def _created_under_policy(snapshot: LeafSnapshot, _: Authority) -> Refusal | None:
    leaf, since = snapshot.leaf, snapshot.admission.since
    if leaf.issued is not None:
        return None
    if since is not None and leaf.meta.created is not None and leaf.meta.created >= since + POLICY_SETTLES:
        return None
    return Refusal(
        Reason.POLICY_GAP,
        "nobody checked who created this request: it is older than the admission policy's present time in"
        " force plus 30 s; delete it and create it again",
    )


def _outside_operator_namespace(snapshot: LeafSnapshot, _: Authority) -> Refusal | None:
    if snapshot.leaf.meta.namespace != snapshot.operator_namespace:
        return None
    return Refusal(Reason.DENIED, "requests in the operator's own namespace are refused")


def _namespace_selected(snapshot: LeafSnapshot, authority: Authority) -> Refusal | None:
    if authority.naming.namespaces.matches(snapshot.namespace_labels):
        return None
    return Refusal(
        Reason.DENIED,
        f"namespace {snapshot.leaf.meta.namespace!r} is not selected by spec.identity.namespaceSelector of"
        f" CAConfiguration {authority.configuration!r}",
    )


def _account_named(snapshot: LeafSnapshot, _: Authority) -> Refusal | None:
    if snapshot.leaf.spec.service_account:
        return None
    return Refusal(Reason.INVALID_REQUEST, "spec.serviceAccountName is empty")


def _account_exists(snapshot: LeafSnapshot, _: Authority) -> Refusal | None:
    if snapshot.account_exists:
        return None
    return Refusal(
        Reason.PENDING,
        f"ServiceAccount {snapshot.leaf.spec.service_account!r} does not exist in namespace"
        f" {snapshot.leaf.meta.namespace!r}; create it and the certificate follows",
    )


def _in_time(snapshot: LeafSnapshot, authority: Authority) -> Refusal | None:
    leaf = snapshot.leaf
    if leaf.spec.automatic or leaf.meta.created is None:
        return None
    try:
        closes = leaf.meta.created + wanted_ttl(leaf, authority)
    except InvalidError as error:
        return Refusal(Reason.INVALID_REQUEST, error.message)
    if snapshot.now < closes:
        return None
    if snapshot.clocks_differ:
        return Refusal(
            Reason.PENDING,
            "the request seems older than the lifetime it asks for, but the operator's clock and the API"
            " server's differ; set the clocks of both nodes",
        )
    return Refusal(
        Reason.INVALID_REQUEST,
        "the request is older than the lifetime it asks for: the next one needs a new key",
    )


def _signer_lives_on(snapshot: LeafSnapshot, authority: Authority) -> Refusal | None:
    try:
        ttl = wanted_ttl(snapshot.leaf, authority)
    except InvalidError as error:
        return Refusal(Reason.INVALID_REQUEST, error.message)
    if authority.signer_not_after - snapshot.now >= ttl * MIN_REMAINING:
        return None
    return Refusal(
        Reason.SIGNER_NOT_READY,
        f"the signer of CAConfiguration {authority.configuration!r} ends at"
        f" {format_time(authority.signer_not_after)}, too soon for a certificate of {format_duration(ttl)};"
        " it follows when there is a new signer",
    )


def managed_keys_allowed(snapshot: LeafSnapshot) -> Refusal | None:
    """Return the refusal for a managed request in a namespace where no keys may be kept."""
    if not snapshot.leaf.spec.managed or snapshot.managed_allowed:
        return None
    return Refusal(
        Reason.MANAGED_KEYS_NOT_ALLOWED,
        f"the operator may not keep keys in namespace {snapshot.leaf.meta.namespace!r}: add it to the chart"
        " value managedKeys.namespaces, or send a CSR in spec.request",
    )


def _may_keep_the_key(snapshot: LeafSnapshot, _: Authority) -> Refusal | None:
    return managed_keys_allowed(snapshot)


def _secret_name_free(snapshot: LeafSnapshot, _: Authority) -> Refusal | None:
    name = snapshot.leaf.spec.secret_name
    if not name:
        return None
    if name.startswith(RESERVED_SECRET_PREFIX):
        return Refusal(
            Reason.INVALID_REQUEST, f"spec.secretName {name!r}: names starting with 'meshca-' are reserved"
        )
    if snapshot.secret is not None:
        return None if snapshot.secret.owner_uid == snapshot.leaf.meta.uid else secret_conflict(name)
    if snapshot.older_claim:
        return Refusal(
            Reason.SECRET_CONFLICT,
            f"Secret {name!r} is already claimed by the request {snapshot.older_claim!r}; choose another"
            " spec.secretName",
        )
    return None


def secret_conflict(name: str) -> Refusal:
    """Return the refusal for a Secret that exists and is not this request's."""
    return Refusal(
        Reason.SECRET_CONFLICT,
        f"Secret {name!r} exists and is not owned by this request; it is left untouched: delete it or choose"
        " another spec.secretName",
    )


CHECKS: tuple[Callable[[LeafSnapshot, Authority], Refusal | None], ...] = (
    _outside_operator_namespace,
    _admission_in_force,
    _created_under_policy,
    _namespace_selected,
    _account_named,
    _in_time,
    _may_keep_the_key,
    _secret_name_free,
    _account_exists,
    _signer_lives_on,
)
