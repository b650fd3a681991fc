"""What happens next to one LeafCertificateRequest: an ordered chain of small named checks.

Decides whether to issue, to report, to wait or to remove, from what is observed. Never signs, never
writes, never trusts a status field that somebody else could have written: what a leaf holds is read
from its verified chain (``LeafView.issued``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from meshca.api.v1alpha1.conditions import MESSAGE_MAX_LENGTH, Reason
from meshca.errors import DeniedError, InvalidError
from meshca.pki import csr, keys, renewal
from meshca.pki.keys import KeyAlgorithm, KeySpec
from meshca.planning.authority import Admission, Authority, Unavailable
from meshca.planning.moves import ROTATE, is_elsewhere, is_signal_due, is_told, lacks_bundle
from meshca.planning.naming import Granted, Wish, grant
from meshca.planning.refusals import CHECKS, Refusal, managed_keys_allowed, wanted_ttl

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from meshca.planning.views import IssuedFacts, LeafView

PENDING = "Pending"
ISSUED = "Issued"
FAILED = "Failed"
RENEW = "Renew"

_FINAL = frozenset({Reason.DENIED, Reason.INVALID_REQUEST})
TERMINAL = _FINAL | {Reason.POLICY_GAP}
KEEP_EXPIRED = timedelta(hours=1)
KEEP_REFUSED = timedelta(hours=24)
LOOK_AGAIN: Final = timedelta(minutes=1)
NEARLY_OVER = 0.9
_CANNOT_RENEW = "renewal is due and cannot be done: "
_CANNOT_MOVE = "the rotation cannot reach this certificate yet: "


@dataclass(frozen=True, slots=True)
class SecretView:
    """A managed Secret as watched; ``serial`` is of its certificate, "" when unreadable.

    ``chain_digest`` is that of its ``tls.crt``, ``bundle`` that of its ``ca.crt``. ``consistent`` means that
    key, certificate, signer and bundle fit together.
    """

    uid: str
    resource_version: str
    owner_uid: str
    serial: str
    chain_digest: str
    consistent: bool
    bundle: str = ""


@dataclass(frozen=True, slots=True)
class LeafSnapshot:
    """Everything one decision about a leaf depends on; ``turn`` means that its rotation's pace let it in."""

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
    turn: bool = False
    clocks_differ: bool = False


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
    """At most one of issue, report and remove; ``due`` is when to look again, ``retry`` asks for back-off.

    ``rebundle`` asks for the present bundle in the managed Secret, ``move`` for a turn in the rotation.
    """

    issue: Issue | None = None
    report: Report | None = None
    remove: str = ""
    rebundle: bool = False
    move: bool = False
    due: datetime | None = None
    retry: bool = False


HOLDS: Final = Report(state=ISSUED, ready=True, reason=Reason.ISSUED, message="the certificate is issued")
"""What a status says of a leaf that has its certificate and needs nothing."""
ASK_AGAIN: Final = Report(
    state=ROTATE,
    ready=True,
    reason=Reason.ISSUED,
    message="the root is being rotated: make a new request to get a certificate under the new root; this one"
    " is good until it expires",
)
"""What the status of a Manual leaf says while a rotation waits for its holder."""


def plan_leaf(snapshot: LeafSnapshot) -> LeafPlan:
    """Decide the next step for one request."""
    plan = _next(snapshot)
    if plan.remove and snapshot.clocks_differ:
        # By the right clock its holder may need it still, and it is what keeps an older root.
        return LeafPlan(due=snapshot.now + LOOK_AGAIN)
    return plan


def _next(snapshot: LeafSnapshot) -> LeafPlan:
    leaf = snapshot.leaf
    if leaf.meta.deleting:
        return LeafPlan()
    if leaf.issued is None:
        if leaf.chain and isinstance(snapshot.authority, Unavailable):
            # What the chain is worth shows only when the roots are known again.
            return LeafPlan(retry=True)
        return _first_issue(snapshot)
    if not leaf.spec.automatic:
        return _manual(snapshot, leaf.issued)
    due = renewal_due(leaf, leaf.issued)
    if snapshot.now < due and not _must_begin_sooner(snapshot) and _secret_is_sound(snapshot):
        return _holding(snapshot, due)
    return _granted(snapshot)


def awaits_turn(
    leaf: LeafView, secret: SecretView | None, authority: Authority | Unavailable, now: datetime
) -> bool:
    """Tell whether a rotation has to reach a leaf that nothing else is due for."""
    if leaf.issued is None or leaf.meta.deleting:
        return False
    if not leaf.spec.automatic:
        return is_signal_due(leaf, authority, now)
    waits = is_elsewhere(leaf, authority) or lacks_bundle(leaf, secret, authority)
    return waits and now < renewal_due(leaf, leaf.issued)


def is_move(snapshot: LeafSnapshot) -> bool:
    """Tell whether what is done for a leaf at this look is done for the sake of a rotation alone."""
    return (
        snapshot.turn
        and awaits_turn(snapshot.leaf, snapshot.secret, snapshot.authority, snapshot.now)
        and _secret_is_sound(snapshot)
    )


def is_repair(snapshot: LeafSnapshot) -> bool:
    """Tell whether a certificate is due only because the Secret, as known, does not hold the one issued."""
    leaf = snapshot.leaf
    if leaf.issued is None or _secret_is_sound(snapshot):
        return False
    return snapshot.now < renewal_due(leaf, leaf.issued) and not _must_begin_sooner(snapshot)


def is_urgent(leaf: LeafView, now: datetime) -> bool:
    """Return whether 90 % of an issued leaf's life is over."""
    if leaf.issued is None:
        return False
    life = leaf.issued.not_after - leaf.issued.not_before
    return now >= leaf.issued.not_before + life * NEARLY_OVER


def renewal_due(leaf: LeafView, issued: IssuedFacts) -> datetime:
    """Return when an issued leaf is renewed: what its status says, unless that is too late."""
    latest = issued.not_before + (issued.not_after - issued.not_before) * renewal.LATEST
    # An earlier time is a renewal that the break-glass group asked for.
    if leaf.renew_at is not None and leaf.renew_at <= latest:
        return leaf.renew_at
    return renewal.renew_at(leaf.meta.uid, issued.not_before, issued.not_after)


def is_of_the_future(leaf: LeafView, now: datetime) -> bool:
    """Tell whether a leaf is not valid yet, because it was made while a clock was wrong."""
    return leaf.issued is not None and leaf.issued.not_before > now


def _must_begin_sooner(snapshot: LeafSnapshot) -> bool:
    """Tell whether another leaf would be valid now, and the present one is not."""
    authority, now = snapshot.authority, snapshot.now
    able = isinstance(authority, Authority) and authority.signer.not_valid_before_utc <= now
    return able and is_of_the_future(snapshot.leaf, now)


def refused(leaf: LeafView, refusal: Refusal, now: datetime, *, moving: bool = False) -> LeafPlan:
    """Plan for a request that cannot be granted now, found out here or while carrying out.

    An issued leaf keeps its certificate and is tried again, whatever the reason; so is a first issue
    unless the reason is terminal. Nothing is reported that the status says already. ``moving``: only a
    rotation asked for it.
    """
    terminal = leaf.issued is None and refusal.reason in TERMINAL
    before = "" if leaf.issued is None else _CANNOT_MOVE if moving else _CANNOT_RENEW
    final = leaf.issued is None and refusal.reason in _FINAL
    after = "; delete this request and make one that can be granted" if final else ""
    kept = MESSAGE_MAX_LENGTH - len(before + after)
    report = Report(
        state=RENEW if leaf.issued else FAILED if terminal else PENDING,
        ready=leaf.issued is not None and now < leaf.issued.not_after,
        reason=refusal.reason,
        message=before + refusal.message[:kept] + after,
    )
    due = now + KEEP_REFUSED if terminal else None
    return LeafPlan(report=_news(leaf, report), due=due, retry=not terminal)


def _first_issue(snapshot: LeafSnapshot) -> LeafPlan:
    leaf = snapshot.leaf
    if leaf.state == FAILED and leaf.reason in TERMINAL and leaf.observed_generation == leaf.meta.generation:
        if leaf.spec.automatic and leaf.chain:
            # It was issued once, perhaps under a root that is gone: never removed.
            return LeafPlan()
        return _until(snapshot, (leaf.reason_since or snapshot.now) + KEEP_REFUSED, "refused")
    return _granted(snapshot)


def _granted(snapshot: LeafSnapshot) -> LeafPlan:
    outcome = _decide(snapshot)
    if isinstance(outcome, Issue):
        return LeafPlan(issue=outcome)
    return refused(snapshot.leaf, outcome, snapshot.now, moving=is_move(snapshot))


def _holding(snapshot: LeafSnapshot, due: datetime) -> LeafPlan:
    """Plan for an Automatic leaf whose certificate is good and not due for renewal."""
    leaf, authority = snapshot.leaf, snapshot.authority
    moves, lacks = is_elsewhere(leaf, authority), lacks_bundle(leaf, snapshot.secret, authority)
    if snapshot.turn and moves:
        return _granted(snapshot)
    if snapshot.turn and lacks:
        refusal = managed_keys_allowed(snapshot)
        if refusal is not None:
            return refused(leaf, refusal, snapshot.now, moving=True)
        return LeafPlan(report=_news(leaf, HOLDS), due=due, rebundle=True)
    # That a turn was refused stays said until one succeeds, or until there is nothing left to do.
    waits = moves or lacks or isinstance(authority, Unavailable)
    said = waits and leaf.state == RENEW and leaf.ready == "True"
    return LeafPlan(report=None if said else _news(leaf, HOLDS), due=due, move=moves or lacks)


def _manual(snapshot: LeafSnapshot, issued: IssuedFacts) -> LeafPlan:
    """Plan for a leaf that only its holder can renew: a rotation can do no more than tell."""
    leaf, due = snapshot.leaf, issued.not_after + KEEP_EXPIRED
    if snapshot.now >= due:
        return LeafPlan(remove="expired")
    signal = is_signal_due(leaf, snapshot.authority, snapshot.now)
    if signal and snapshot.turn:
        wanted = ASK_AGAIN if is_elsewhere(leaf, snapshot.authority) else HOLDS
        return LeafPlan(report=_news(leaf, wanted), due=due)
    return LeafPlan(report=None if is_told(leaf) else _news(leaf, HOLDS), due=due, move=signal)


def _until(snapshot: LeafSnapshot, moment: datetime, why: str) -> LeafPlan:
    return LeafPlan(remove=why) if snapshot.now >= moment else LeafPlan(due=moment)


def _news(leaf: LeafView, report: Report) -> Report | None:
    """Return a report unless the status says it already."""
    said = (leaf.state, leaf.ready, leaf.reason, leaf.message, leaf.observed_generation)
    wanted = (report.state, str(report.ready), report.reason, report.message, leaf.meta.generation)
    return None if said == wanted else report


def _secret_is_sound(snapshot: LeafSnapshot) -> bool:
    return not snapshot.leaf.spec.managed or secret_is_sound(snapshot.leaf, snapshot.secret)


def secret_is_sound(leaf: LeafView, secret: SecretView | None) -> bool:
    """Tell whether a Secret holds the certificate that a managed request was issued, with its key."""
    return (
        secret is not None
        and secret.consistent
        and secret.owner_uid == leaf.meta.uid
        and leaf.issued is not None
        and secret.chain_digest == leaf.issued.digest
    )


def _decide(snapshot: LeafSnapshot) -> Issue | Refusal:
    if isinstance(snapshot.authority, Unavailable):
        return Refusal(snapshot.authority.reason, snapshot.authority.message)
    for check in CHECKS:
        refusal = check(snapshot, snapshot.authority)
        if refusal is not None:
            return refusal
    try:
        return _issue(snapshot, snapshot.authority)
    except DeniedError as error:
        return Refusal(Reason.DENIED, error.message)
    except InvalidError as error:
        return Refusal(Reason.INVALID_REQUEST, error.message)


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


def leaf_key(leaf: LeafView) -> KeySpec:
    """Return the kind of key a managed request wants; ``InvalidError`` when it is not a leaf key."""
    spec = KeySpec.of(leaf.spec.key_algorithm or KeyAlgorithm.ECDSA, leaf.spec.key_size)
    keys.LEAF_KEYS.check_spec(spec)
    return spec
