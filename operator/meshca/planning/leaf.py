"""What happens next to one LeafCertificateRequest: an ordered chain of small named checks.

Decides whether to issue, to report, to wait or to remove, from what is observed. Never signs, never
writes, never trusts a status field that somebody else could have written: what a leaf holds is read
from its verified chain (``LeafView.issued``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from meshca.api.names import RESERVED_SECRET_PREFIX
from meshca.api.v1alpha1.conditions import Reason
from meshca.api.v1alpha1.scalars import parse_duration
from meshca.errors import DeniedError, InvalidError
from meshca.pki import csr, keys
from meshca.pki.keys import KeyAlgorithm, KeySpec
from meshca.planning.authority import Admission, Authority, Unavailable
from meshca.planning.naming import Granted, Wish, grant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from meshca.planning.views import LeafView

PENDING = "Pending"
ISSUED = "Issued"
FAILED = "Failed"
RENEW = "Renew"
ROTATE = "Rotate"

TERMINAL = frozenset({Reason.DENIED, Reason.INVALID_REQUEST, Reason.POLICY_GAP})
POLICY_SETTLES = timedelta(seconds=30)
KEEP_EXPIRED = timedelta(hours=1)
KEEP_REFUSED = timedelta(hours=24)
NEARLY_OVER = 0.9


@dataclass(frozen=True, slots=True)
class SecretView:
    """A managed Secret as watched; ``serial`` and ``public_key`` are of its certificate, "" when unreadable.

    ``consistent`` means that key, certificate and names fit together.
    """

    uid: str
    resource_version: str
    owner_uid: str
    serial: str
    public_key: str
    consistent: bool


@dataclass(frozen=True, slots=True)
class LeafSnapshot:
    """Everything one decision about a leaf depends on."""

    now: datetime
    leaf: LeafView
    authority: Authority | Unavailable
    admission: Admission
    namespace_labels: Mapping[str, str]
    account_exists: bool
    managed_allowed: bool
    operator_namespace: str
    secret: SecretView | None = None
    older_claim: str = ""


@dataclass(frozen=True, slots=True)
class Issue:
    """Sign a leaf: over the CSR's key, or over a new key of ``key`` kept in a Secret."""

    names: Granted
    ttl: timedelta
    request: csr.CertificateSigningRequest | None
    key: KeySpec | None


@dataclass(frozen=True, slots=True)
class Report:
    """What the status has to say while there is no new certificate."""

    state: str
    ready: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class LeafPlan:
    """At most one of issue, report and remove; ``due`` is when to look again, ``retry`` asks for back-off."""

    issue: Issue | None = None
    report: Report | None = None
    remove: str = ""
    due: datetime | None = None
    retry: bool = False


@dataclass(frozen=True, slots=True)
class _Refusal:
    reason: str
    message: str


def plan_leaf(snapshot: LeafSnapshot) -> LeafPlan:
    """Decide the next step for one request."""
    leaf = snapshot.leaf
    if leaf.meta.deleting:
        return LeafPlan()
    if leaf.issued is None:
        return _first_issue(snapshot)
    if not leaf.spec.automatic:
        return _until_removed(snapshot, leaf.issued.not_after + KEEP_EXPIRED)
    if _secret_is_sound(snapshot) and leaf.renew_at is not None and snapshot.now < leaf.renew_at:
        return LeafPlan(due=leaf.renew_at)
    return _renewal(snapshot)


def is_urgent(leaf: LeafView, now: datetime) -> bool:
    """Return whether 90 % of an issued leaf's life is over."""
    if leaf.issued is None:
        return False
    life = leaf.issued.not_after - leaf.issued.not_before
    return now >= leaf.issued.not_before + life * NEARLY_OVER


def _first_issue(snapshot: LeafSnapshot) -> LeafPlan:
    leaf = snapshot.leaf
    if leaf.state == FAILED and leaf.reason in TERMINAL and leaf.observed_generation == leaf.meta.generation:
        return _until_removed(snapshot, (leaf.reason_since or snapshot.now) + KEEP_REFUSED)
    outcome = _decide(snapshot)
    if isinstance(outcome, Issue):
        return LeafPlan(issue=outcome)
    terminal = outcome.reason in TERMINAL
    report = Report(
        state=FAILED if terminal else PENDING, ready=False, reason=outcome.reason, message=outcome.message
    )
    if terminal:
        return LeafPlan(report=_news(leaf, report), due=snapshot.now + KEEP_REFUSED)
    return LeafPlan(report=_news(leaf, report), retry=True)


def _renewal(snapshot: LeafSnapshot) -> LeafPlan:
    leaf = snapshot.leaf
    assert leaf.issued is not None
    outcome = _decide(snapshot)
    if isinstance(outcome, Issue):
        return LeafPlan(issue=outcome)
    alive = snapshot.now < leaf.issued.not_after
    message = f"renewal is due and cannot be done: {outcome.message}"
    report = Report(state=RENEW, ready=alive, reason=outcome.reason, message=message)
    return LeafPlan(report=_news(leaf, report), retry=True)


def _until_removed(snapshot: LeafSnapshot, moment: datetime) -> LeafPlan:
    if snapshot.now < moment:
        return LeafPlan(due=moment)
    return LeafPlan(remove="expired" if snapshot.leaf.issued else "refused")


def _news(leaf: LeafView, report: Report) -> Report | None:
    said = (leaf.state, leaf.ready, leaf.reason, leaf.message, leaf.observed_generation)
    wanted = (report.state, str(report.ready), report.reason, report.message, leaf.meta.generation)
    return None if said == wanted else report


def _secret_is_sound(snapshot: LeafSnapshot) -> bool:
    leaf, secret = snapshot.leaf, snapshot.secret
    if not leaf.spec.managed:
        return True
    return (
        secret is not None
        and secret.consistent
        and secret.owner_uid == leaf.meta.uid
        and leaf.issued is not None
        and secret.serial == leaf.issued.serial
    )


def _decide(snapshot: LeafSnapshot) -> Issue | _Refusal:
    if isinstance(snapshot.authority, Unavailable):
        return _Refusal(snapshot.authority.reason, snapshot.authority.message)
    for check in CHECKS:
        refusal = check(snapshot, snapshot.authority)
        if refusal is not None:
            return refusal
    try:
        return _issue(snapshot, snapshot.authority)
    except DeniedError as error:
        return _Refusal(Reason.DENIED, error.message)
    except InvalidError as error:
        return _Refusal(Reason.INVALID_REQUEST, error.message)


def _issue(snapshot: LeafSnapshot, authority: Authority) -> Issue:
    leaf = snapshot.leaf
    spec = leaf.spec
    ttl = wanted_ttl(leaf, authority)
    request = None if spec.managed else csr.parse(spec.request)
    uris = request.uris if request else ()
    asked = Wish(
        uris=uris,
        dns_names=(request.dns_names if request else ()) + spec.dns_names,
        ip_addresses=tuple(str(ip) for ip in (request.ip_addresses if request else ())) + spec.ip_addresses,
    )
    names = grant(authority, namespace=leaf.meta.namespace, account=spec.service_account, wish=asked)
    return Issue(names=names, ttl=ttl, request=request, key=leaf_key(leaf) if spec.managed else None)


def wanted_ttl(leaf: LeafView, authority: Authority) -> timedelta:
    """Return the lifetime a request gets; raises ``InvalidError`` when it asks for more than allowed."""
    try:
        ttl = parse_duration(leaf.spec.ttl) if leaf.spec.ttl else authority.leaf_ttl
    except ValueError as error:
        raise InvalidError(f"spec.ttl {leaf.spec.ttl!r} {error}") from None
    if ttl > authority.leaf_max_ttl:
        raise InvalidError(
            f"spec.ttl is {leaf.spec.ttl}, above the configuration's spec.leaf.maxTTL of"
            f" {authority.leaf_max_ttl.total_seconds() / 3600:g}h"
        )
    return ttl


def leaf_key(leaf: LeafView) -> KeySpec:
    """Return the kind of key a managed request wants; ``InvalidError`` when it is not a leaf key."""
    spec = KeySpec.of(leaf.spec.key_algorithm or KeyAlgorithm.ECDSA, leaf.spec.key_size)
    keys.LEAF_KEYS.check_spec(spec)
    return spec


def _admission_in_force(snapshot: LeafSnapshot, _: Authority) -> _Refusal | None:
    if snapshot.admission.in_force:
        return None
    return _Refusal(Reason.SIGNER_NOT_READY, snapshot.admission.message)


def _created_under_policy(snapshot: LeafSnapshot, _: Authority) -> _Refusal | None:
    leaf, since = snapshot.leaf, snapshot.admission.since
    if leaf.issued is not None:
        return None
    if since is not None and leaf.meta.created is not None and leaf.meta.created >= since + POLICY_SETTLES:
        return None
    return _Refusal(
        Reason.POLICY_GAP,
        "nobody checked who created this request: it is older than the admission policy's present time in"
        " force plus 30 s; delete it and create it again",
    )


def _outside_operator_namespace(snapshot: LeafSnapshot, _: Authority) -> _Refusal | None:
    if snapshot.leaf.meta.namespace != snapshot.operator_namespace:
        return None
    return _Refusal(Reason.DENIED, "requests in the operator's own namespace are refused")


def _namespace_selected(snapshot: LeafSnapshot, authority: Authority) -> _Refusal | None:
    if authority.naming.namespaces.matches(snapshot.namespace_labels):
        return None
    return _Refusal(
        Reason.DENIED,
        f"namespace {snapshot.leaf.meta.namespace!r} is not selected by spec.identity.namespaceSelector of"
        f" CAConfiguration {authority.configuration!r}",
    )


def _account_named(snapshot: LeafSnapshot, _: Authority) -> _Refusal | None:
    if snapshot.leaf.spec.service_account:
        return None
    return _Refusal(Reason.INVALID_REQUEST, "spec.serviceAccountName is empty")


def _account_exists(snapshot: LeafSnapshot, _: Authority) -> _Refusal | None:
    if snapshot.account_exists:
        return None
    return _Refusal(
        Reason.PENDING,
        f"ServiceAccount {snapshot.leaf.spec.service_account!r} does not exist in namespace"
        f" {snapshot.leaf.meta.namespace!r}; create it and the certificate follows",
    )


def _in_time(snapshot: LeafSnapshot, authority: Authority) -> _Refusal | None:
    leaf = snapshot.leaf
    if leaf.spec.automatic or leaf.meta.created is None:
        return None
    try:
        closes = leaf.meta.created + wanted_ttl(leaf, authority)
    except InvalidError as error:
        return _Refusal(Reason.INVALID_REQUEST, error.message)
    if snapshot.now < closes:
        return None
    return _Refusal(
        Reason.INVALID_REQUEST,
        "the request is older than the lifetime it asks for; make a new one with a new key",
    )


def _managed_keys_allowed(snapshot: LeafSnapshot, _: Authority) -> _Refusal | None:
    if not snapshot.leaf.spec.managed or snapshot.managed_allowed:
        return None
    return _Refusal(
        Reason.MANAGED_KEYS_NOT_ALLOWED,
        f"the operator may not keep keys in namespace {snapshot.leaf.meta.namespace!r}: add it to the chart"
        " value managedKeys.namespaces, or send a CSR in spec.request",
    )


def _secret_name_free(snapshot: LeafSnapshot, _: Authority) -> _Refusal | None:
    name = snapshot.leaf.spec.secret_name
    if not name:
        return None
    if name.startswith(RESERVED_SECRET_PREFIX):
        return _Refusal(
            Reason.INVALID_REQUEST, f"spec.secretName {name!r}: names starting with 'meshca-' are reserved"
        )
    if snapshot.older_claim:
        return _Refusal(
            Reason.SECRET_CONFLICT,
            f"Secret {name!r} is already claimed by the older request {snapshot.older_claim!r}",
        )
    if snapshot.secret is not None and snapshot.secret.owner_uid != snapshot.leaf.meta.uid:
        return secret_conflict(name)
    return None


def secret_conflict(name: str) -> _Refusal:
    """Return the refusal for a Secret that exists and is not this request's."""
    return _Refusal(
        Reason.SECRET_CONFLICT,
        f"Secret {name!r} exists and is not owned by this request; it is left untouched: delete it or choose"
        " another spec.secretName",
    )


CHECKS: tuple[Callable[[LeafSnapshot, Authority], _Refusal | None], ...] = (
    _outside_operator_namespace,
    _admission_in_force,
    _created_under_policy,
    _namespace_selected,
    _account_named,
    _in_time,
    _managed_keys_allowed,
    _secret_name_free,
    _account_exists,
)


def pending_report(leaf: LeafView, refusal_reason: str, message: str) -> Report | None:
    """Return what to say of a request that must wait for something found out while executing.

    None when the status says it already. An issued leaf keeps its state and certificate.
    """
    base = Report(state=PENDING, ready=False, reason=refusal_reason, message=message)
    if leaf.issued is not None:
        base = replace(base, state=RENEW, ready=True)
    return _news(leaf, base)
