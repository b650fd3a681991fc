"""What the primary says of a registered cluster: whether it is served, heard of, and up to date.

Decides conditions, the life of its next signer, and which change is worth an Event, from the registration
and its last report. Never decides about its requests, and never writes what the secondary reports.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from meshca.api.v1alpha1.conditions import ConditionType, Reason, find_condition, set_condition
from meshca.api.v1alpha1.scalars import format_duration, format_time

if TYPE_CHECKING:
    from datetime import datetime

    from meshca.api.v1alpha1.conditions import Condition
    from meshca.planning.secondaries import Secondary
    from meshca.planning.signingroot import SigningRoot

JSON = dict[str, Any]
SILENT_AFTER: Final = timedelta(minutes=15)
"""How long a cluster may say nothing: it reports at least once in 5 minutes."""


@dataclass(frozen=True, slots=True)
class RegistrationSnapshot:
    """Everything the status of a FederatedCluster depends on, read from the API server.

    ``rival`` names an older FederatedCluster with its namespace; ``exists`` and ``is_secondary`` are about
    its CAConfiguration.
    """

    now: datetime
    secondary: Secondary
    rival: str
    exists: bool
    is_secondary: bool
    authority: SigningRoot | None


class Told(NamedTuple):
    """An Event: Normal or Warning, its reason, its note."""

    kind: str
    reason: str
    note: str


@dataclass(frozen=True, slots=True)
class RegistrationPlan:
    """The part of the status that is ours (None takes a field out), Events, and when to look again."""

    status: JSON
    events: tuple[Told, ...]
    due: datetime | None


_EVENTS: Final = {
    (ConditionType.READY, True): "ClusterRegistered",
    (ConditionType.READY, False): "ClusterNotServed",
    (ConditionType.REACHABLE, True): "ClusterReachable",
    (ConditionType.REACHABLE, False): "ClusterUnreachable",
    (ConditionType.CONVERGED, True): "ClusterConverged",
}


class _Verdict(NamedTuple):
    kind: ConditionType
    state: bool
    reason: Reason
    message: str


def plan_registration(snapshot: RegistrationSnapshot) -> RegistrationPlan:
    """Decide what to say of one FederatedCluster."""
    secondary = snapshot.secondary
    before = conditions = secondary.status.conditions
    verdicts = (_ready(snapshot), _reachable(snapshot), _converged(snapshot))
    for verdict in verdicts:
        conditions = set_condition(
            conditions,
            verdict.kind,
            "True" if verdict.state else "False",
            verdict.reason,
            verdict.message,
            observed_generation=secondary.meta.generation,
            now=snapshot.now,
        )
    status: JSON = {
        "observedGeneration": secondary.meta.generation,
        "conditions": [condition.to_dict() for condition in conditions],
        "intermediateTTL": _ttl(snapshot),
    }
    events = tuple(event for verdict in verdicts if (event := _event(before, verdict)) is not None)
    return RegistrationPlan(status, events, _due(snapshot))


def _ready(snapshot: RegistrationSnapshot) -> _Verdict:
    name = snapshot.secondary.spec.ca_configuration_name
    reason, message = Reason.REGISTERED, "its requests are signed"
    if snapshot.secondary.meta.deleting:
        reason, message = Reason.PENDING, "it is being un-registered: its requests are not signed any more"
    elif snapshot.rival:
        reason = Reason.NAMESPACE_TAKEN
        message = (
            f"namespace {snapshot.secondary.spec.namespace!r} belongs to FederatedCluster {snapshot.rival!r},"
            " which is older; register this one with a namespace of its own"
        )
    elif not snapshot.exists:
        reason = Reason.CONFIGURATION_NOT_FOUND
        message = f"CAConfiguration {name!r} does not exist; create it, or register with another"
    elif snapshot.is_secondary:
        reason = Reason.NOT_THE_PRIMARY
        message = f"CAConfiguration {name!r} is a secondary itself; register with its primary"
    elif snapshot.authority is None:
        reason = Reason.SIGNER_NOT_READY
        message = f"CAConfiguration {name!r} cannot sign: see its conditions"
    return _Verdict(ConditionType.READY, reason is Reason.REGISTERED, reason, message)


def _reachable(snapshot: RegistrationSnapshot) -> _Verdict:
    seen = _seen(snapshot)
    if seen is None:
        reason, message = Reason.NEVER_SEEN, "it has not reported yet; apply the join manifest there"
    elif snapshot.now >= seen + SILENT_AFTER:
        reason, message = Reason.SILENT, f"its last report is of {format_time(seen)}"
    else:
        reason, message = Reason.REPORTING, "it reports"
    return _Verdict(ConditionType.REACHABLE, reason is Reason.REPORTING, reason, message)


def _seen(snapshot: RegistrationSnapshot) -> datetime | None:
    """Return when the cluster reported last: by its own clock, which may be ahead or make no sense."""
    seen = snapshot.secondary.status.last_seen
    return min(seen, snapshot.now) if seen is not None else None


def _converged(snapshot: RegistrationSnapshot) -> _Verdict:
    status, authority = snapshot.secondary.status, snapshot.authority
    reason, message = Reason.UP_TO_DATE, "it holds every root and issues under the active one"
    if status.last_seen is None:
        reason, message = Reason.NEVER_SEEN, "it has not reported yet; apply the join manifest there"
    elif authority is None:
        before = find_condition(status.conditions, ConditionType.CONVERGED)
        if before is not None:
            return _Verdict(
                ConditionType.CONVERGED, before.status == "True", Reason(before.reason), before.message
            )
        reason, message = Reason.BEHIND, "the roots of this cluster are not known now"
    elif missing := [item for item in authority.bundle if item not in status.roots]:
        reason = Reason.BEHIND
        message = f"it does not hold {', '.join(item[:10] for item in missing)} yet"
    elif status.active_root != authority.fingerprint:
        reason = Reason.BEHIND
        message = (
            f"it issues under {status.active_root[:10] or 'no root'}, not under {authority.fingerprint[:10]}"
        )
    return _Verdict(ConditionType.CONVERGED, reason is Reason.UP_TO_DATE, reason, message)


def _ttl(snapshot: RegistrationSnapshot) -> str | None:
    authority = snapshot.authority
    if authority is None or snapshot.rival:
        return None
    wanted = snapshot.secondary.spec.max_intermediate_ttl
    return format_duration(authority.effective_ttl(wanted, snapshot.now))


def _due(snapshot: RegistrationSnapshot) -> datetime | None:
    seen, authority = _seen(snapshot), snapshot.authority
    moments = [seen + SILENT_AFTER] if seen is not None else []
    if authority is not None:
        moments.append(authority.next_change(snapshot.secondary.spec.max_intermediate_ttl, snapshot.now))
    return min((moment for moment in moments if moment > snapshot.now), default=None)


def _event(conditions: tuple[Condition, ...], verdict: _Verdict) -> Told | None:
    """Return what is worth an Event: registered or not any more served, silent and back again."""
    before = find_condition(conditions, verdict.kind)
    if before is not None and before.status == ("True" if verdict.state else "False"):
        return None
    if before is None and not verdict.state:
        return None
    reason = _EVENTS.get((verdict.kind, verdict.state), "")
    return Told("Normal" if verdict.state else "Warning", reason, verdict.message) if reason else None
