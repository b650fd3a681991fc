"""What happens to one IntermediateCertificateRequest: an ordered chain of small checks.

Decides whether a secondary's signer is granted, and for how long, or why not, or that the request has had
its time. Never grants one twice for the same request, and never under another root than the active one.
Everything in a request comes from another cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from meshca.api import names
from meshca.api.v1alpha1.conditions import Reason
from meshca.api.v1alpha1.scalars import format_duration, format_time
from meshca.errors import InvalidError
from meshca.pki import csr
from meshca.pki.keys import CA_KEYS
from meshca.planning.authority import POLICY_SETTLES

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from meshca.pki.keys import PublicKey
    from meshca.planning.ca import Root
    from meshca.planning.requestview import RequestSnapshot
    from meshca.planning.signingroot import SigningRoot

KEPT: Final = timedelta(hours=24)
"""How long a request is kept that is of no use any more."""
LOOK_AGAIN: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Issue:
    """Sign ``public_key`` under ``root`` until ``until`` (UTC), once that is on record there."""

    public_key: PublicKey
    root: Root
    authority: SigningRoot
    until: datetime


@dataclass(frozen=True, slots=True)
class Refuse:
    """It is not granted as things stand; looked at again when they change, and removed at ``due``."""

    reason: str
    message: str
    due: datetime | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """It is granted later, by itself; ``due`` is when to look again."""

    reason: str
    message: str
    due: datetime | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """It was granted; nothing is to be done until ``due`` but to say so."""

    message: str
    due: datetime | None


@dataclass(frozen=True, slots=True)
class Remove:
    """It is of no use any more."""

    why: str


Decision = Issue | Refuse | Wait | Keep | Remove


def plan_request(snapshot: RequestSnapshot) -> Decision:
    """Decide about one request."""
    request = snapshot.request
    if request.issued:
        return _granted(snapshot)
    for check in CHECKS:
        found = check(snapshot)
        if isinstance(found, Refuse):
            return _refused(snapshot, found)
        if found is not None:
            return found
    return _issue(snapshot)


def _granted(snapshot: RequestSnapshot) -> Decision:
    request, since = snapshot.request, snapshot.successor_since
    ends = [moment + KEPT for moment in (request.status.not_after, since) if moment is not None]
    due = _when(snapshot, min(ends, default=None))
    if due is not None and due <= snapshot.now:
        return Remove("a later request took its place" if since else "its certificate has expired")
    registration = snapshot.registration
    if registration is None or registration.meta.deleting:
        return Keep(
            "the signer was granted; its cluster is not registered any more, so it gets no other", due
        )
    return Keep("the signer was granted", due)


def _refused(snapshot: RequestSnapshot, refusal: Refuse) -> Decision:
    since = snapshot.request.settled_at
    if since is None:
        return refusal
    due = _when(snapshot, since + KEPT)
    if due is not None and due <= snapshot.now:
        return Remove("it was refused a day ago")
    return Refuse(refusal.reason, refusal.message, due)


def _when(snapshot: RequestSnapshot, end: datetime | None) -> datetime | None:
    """Return when a request is to be removed; not now while the clocks differ, for it may not be over."""
    if end is None or not snapshot.clocks_differ:
        return end
    return max(end, snapshot.now + LOOK_AGAIN)


def _stays(snapshot: RequestSnapshot) -> Wait | Refuse | None:
    if not snapshot.request.meta.deleting:
        return None
    return Refuse(Reason.DENIED, "the request is being deleted")


def _in_force(snapshot: RequestSnapshot) -> Wait | Refuse | None:
    if snapshot.admission.in_force:
        return None
    return Wait(Reason.SIGNER_NOT_READY, snapshot.admission.message)


def _created_under_policy(snapshot: RequestSnapshot) -> Wait | Refuse | None:
    created, since = snapshot.request.meta.created, snapshot.admission.since
    if created is not None and since is not None and created >= since + POLICY_SETTLES:
        return None
    return Refuse(
        Reason.POLICY_GAP,
        "nobody checked who made this request: it is older than the admission policy's present time in force"
        " plus 30 s; make another, under a new key",
    )


def _readable(snapshot: RequestSnapshot) -> Wait | Refuse | None:
    problem = snapshot.request.problem
    return Refuse(Reason.INVALID_REQUEST, problem) if problem else None


def _asks_the_primary(snapshot: RequestSnapshot) -> Wait | Refuse | None:
    if not snapshot.is_secondary:
        return None
    name = snapshot.request.configuration
    return Refuse(
        Reason.DENIED,
        f"not the primary: CAConfiguration {name!r} has its roots from another cluster; ask that one",
    )


def _registered(snapshot: RequestSnapshot) -> Wait | Refuse | None:
    registration, cluster = snapshot.registration, snapshot.request.cluster
    if registration is not None and not registration.meta.deleting:
        return None
    return Refuse(
        Reason.DENIED,
        f"no FederatedCluster {cluster!r} is registered here: meshca federation invite {cluster} does that",
    )


def _as_registered(snapshot: RequestSnapshot) -> Wait | Refuse | None:
    request, registration = snapshot.request, snapshot.registration
    assert registration is not None
    spec = registration.spec
    for what, asked, given in (
        ("namespace", request.meta.namespace, spec.namespace),
        ("CAConfiguration", request.configuration, spec.ca_configuration_name),
        ("requester", request.spec.requester or "", spec.requester.username),
    ):
        if asked != given:
            return Refuse(
                Reason.DENIED,
                f"FederatedCluster {request.cluster!r} is registered with {what} {given!r}; this request has"
                f" {asked!r}",
            )
    return None


def _first_in_namespace(snapshot: RequestSnapshot) -> Wait | Refuse | None:
    if not snapshot.rival:
        return None
    return Refuse(
        Reason.DENIED,
        f"the namespace belongs to FederatedCluster {snapshot.rival!r}, which is older; register this cluster"
        " with a namespace of its own",
    )


def _can_sign(snapshot: RequestSnapshot) -> Wait | Refuse | None:
    if snapshot.authority is not None:
        return None
    name = snapshot.request.configuration
    return Wait(
        Reason.SIGNER_NOT_READY, f"CAConfiguration {name!r} does not exist or cannot sign: see its conditions"
    )


def _well_formed(snapshot: RequestSnapshot) -> Wait | Refuse | None:
    authority = snapshot.authority
    assert authority is not None
    try:
        asked = csr.parse(snapshot.request.spec.request, keys=CA_KEYS)
    except InvalidError as error:
        return Refuse(Reason.INVALID_REQUEST, error.message)
    uri = authority.trust_domain.uri
    if asked.uris != (uri,):
        listed = ", ".join(asked.uris[:3]) or "none"
        return Refuse(
            Reason.INVALID_REQUEST,
            f"certificate request: its one URI has to be {uri}, the trust domain of CAConfiguration"
            f" {authority.configuration!r}; it has {listed}",
        )
    if asked.dns_names or asked.ip_addresses:
        return Refuse(
            Reason.INVALID_REQUEST,
            f"certificate request: no name but {uri} is allowed; leave out DNS names and IP addresses",
        )
    return None


def _clocks_agree(snapshot: RequestSnapshot) -> Wait | Refuse | None:
    if not snapshot.clocks_differ:
        return None
    return Wait(
        Reason.PENDING,
        "the operator's clock and the API server's differ by more than a minute: nothing is signed until they"
        " agree; set the clocks of both nodes",
        snapshot.now + LOOK_AGAIN,
    )


def _root_is_active(snapshot: RequestSnapshot) -> Wait | Refuse | None:
    authority, root = snapshot.authority, snapshot.root
    assert authority is not None
    stands = root is not None and not root.pruned and root.facts.fingerprint == authority.fingerprint
    if stands and snapshot.active_root == authority.name:
        return None
    return Wait(
        Reason.PENDING, "another root is becoming active: it is signed under that", snapshot.now + LOOK_AGAIN
    )


def _record_is_whole(snapshot: RequestSnapshot) -> Wait | Refuse | None:
    root = snapshot.root
    assert root is not None
    if root.intermediates is not None:
        return None
    return Wait(
        Reason.SIGNER_NOT_READY,
        f"annotation {names.ANNOTATION_INTERMEDIATES} of CARoot {root.meta.name!r} cannot be read; mend it,"
        " or remove it if no other secondary was granted a signer",
    )


def _worth_it(snapshot: RequestSnapshot) -> Wait | Refuse | None:
    authority, registration = snapshot.authority, snapshot.registration
    assert authority is not None
    assert registration is not None
    wanted = registration.spec.max_intermediate_ttl
    if authority.is_worth_it(wanted, snapshot.now):
        return None
    life = format_duration(wanted or authority.intermediate_ttl)
    return Wait(
        Reason.SIGNER_NOT_READY,
        f"root {authority.name!r} ends at {format_time(authority.not_after)}, before a tenth of {life}; the"
        " next root signs it",
    )


def _issue(snapshot: RequestSnapshot) -> Issue:
    authority, registration, root = snapshot.authority, snapshot.registration, snapshot.root
    assert authority is not None
    assert registration is not None
    assert root is not None
    return Issue(
        public_key=csr.parse(snapshot.request.spec.request, keys=CA_KEYS).public_key,
        root=root,
        authority=authority,
        until=authority.until(registration.spec.max_intermediate_ttl, snapshot.now),
    )


CHECKS: tuple[Callable[[RequestSnapshot], Wait | Refuse | None], ...] = (
    _stays,
    _readable,
    _in_force,
    _created_under_policy,
    _asks_the_primary,
    _registered,
    _as_registered,
    _first_in_namespace,
    _can_sign,
    _well_formed,
    _clocks_agree,
    _root_is_active,
    _record_is_whole,
    _worth_it,
)
"""In this order; the first that finds something decides."""
