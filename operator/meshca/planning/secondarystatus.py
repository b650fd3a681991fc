"""What the status of a secondary says besides what every CA says: its primary, and what is wrong with it.

Decides texts from a Situation; never what to do. What was said before a restart stays until the link has
told something again, since looking anew is no news.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from meshca.api.v1alpha1.conditions import (
    Condition,
    ConditionType,
    Reason,
    find_condition,
    observed,
    set_condition,
)
from meshca.api.v1alpha1.scalars import format_duration, format_time
from meshca.planning import following, pinning, secondary

if TYPE_CHECKING:
    from meshca.planning.situation import Situation

JSON = dict[str, Any]
OURS: Final = frozenset(
    {
        Reason.PRIMARY_MISMATCH,
        Reason.PRIMARY_WENT_BACK,
        Reason.NOT_REGISTERED,
        Reason.CLUSTER_NAME_CONFLICT,
    }
)
"""Reasons of Degraded that speak of the primary."""


def federation(found: Situation) -> JSON:
    """Return ``status.federation``; empty where there is nothing to say."""
    if found.primary is None:
        return {}
    told, facts = pinning.recorded(found.snapshot), found.primary.facts
    known = {
        "configurationID": facts.uid if facts is not None else told.get("configurationID"),
        "sequence": facts.sequence if facts is not None else told.get("sequence"),
        "activeRoot": found.primary.active_root,
        "request": _request(found) or told.get("request"),
    }
    status = {name: value for name, value in known.items() if value}
    ttl = following.intermediate_ttl(found.snapshot)
    if ttl is not None:
        status["intermediateTTL"] = format_duration(ttl)
    return {"federation": status} if status else {}


def with_reachable(found: Situation, conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
    """Return the conditions with Reachable among them, in a secondary; elsewhere without it."""
    if found.primary is None:
        return tuple(item for item in conditions if item.type != ConditionType.REACHABLE)
    said = _reachable(found)
    if said is None:
        return conditions
    answers, reason, message = said
    return set_condition(
        conditions,
        ConditionType.REACHABLE,
        "True" if answers else "False",
        reason,
        message,
        observed_generation=found.snapshot.meta.generation,
        now=found.snapshot.now,
    )


def degraded(found: Situation) -> tuple[bool, str, str] | None:
    """Say what is wrong with the primary, or None."""
    view, primary = found.snapshot.view, found.primary
    if primary is None:
        return None
    if primary.doubt is not None:
        return True, primary.doubt.reason, primary.doubt.message
    if view is None or view.facts is None:
        before = find_condition(observed(found.snapshot.status), ConditionType.DEGRADED)
        return (True, before.reason, before.message) if before and before.reason in OURS else None
    if view.rival:
        return True, Reason.CLUSTER_NAME_CONFLICT, _rival(found)
    return _refused(found)


def unkept_token(found: Situation) -> tuple[bool, str, str] | None:
    """Say that the renewed token of the link cannot be kept, which nothing waits for, or None."""
    join, why = found.snapshot.join, found.snapshot.unkept_token
    if join is None or not why:
        return None
    ends = f", which expires at {format_time(join.expires)}" if join.expires is not None else ""
    message = f"Secret {join.meta.name!r} keeps its old token{ends}: the new one cannot be written: {why}"
    return True, Reason.JOIN_SECRET_INVALID, message


def waits_for(found: Situation) -> str:
    """Say in a sentence what a secondary without a root in use waits for."""
    obstacle = _obstacle(found)
    if obstacle is not None:
        return f"waits for the primary: {obstacle}" if obstacle else "waits for the primary"
    if found.signer is None:
        return "the primary has yet to sign this cluster's signer"
    return "the primary's roots are being published"


def _obstacle(found: Situation) -> str | None:
    """Say what the primary has to do, or what keeps it from that; None: nothing."""
    view, primary = found.snapshot.view, found.primary
    assert primary is not None
    wrong = degraded(found)
    if found.snapshot.join_problem:
        return found.snapshot.join_problem
    if view is not None and view.trouble is not None:
        return view.trouble.message
    if wrong is not None:
        return wrong[2]
    if view is None or view.facts is None:
        return view.waits if view is not None else ""
    return None if primary.active_root else "it has no active root"


def moving(found: Situation) -> str:
    """Say why a secondary does not have what it needs to follow the primary to its new root, or ""."""
    if found.primary is None or found.target is None:
        return ""
    view = found.snapshot.view
    if not found.primary.answering:
        why = view.trouble.message if view is not None and view.trouble is not None else "it does not answer"
        return f"; waits for the primary: {why}"
    refused = _refused(found)
    return f"; {refused[2]}" if refused is not None else ""


def _request(found: Situation) -> str:
    if found.stopped or not found.snapshot.requested or found.snapshot.requested[0].problem:
        return ""
    return secondary.request_name(found, found.snapshot.requested[0])


def _reachable(found: Situation) -> tuple[bool, str, str] | None:
    snapshot = found.snapshot
    if snapshot.join_problem:
        return False, Reason.JOIN_SECRET_INVALID, snapshot.join_problem
    if snapshot.view is None:
        return None
    if snapshot.view.trouble is not None:
        return False, snapshot.view.trouble.reason, snapshot.view.trouble.message
    return True, Reason.CONNECTED, "the primary answers"


def _refused(found: Situation) -> tuple[bool, str, str] | None:
    view, verdict = found.snapshot.view, secondary.verdict_of(found)
    if view is not None and view.registered is False:
        cluster = found.desired.cluster_name
        missing = (
            f"the primary has no FederatedCluster {cluster!r}: it signs no further signer for it; leaves"
        )
        return True, Reason.NOT_REGISTERED, f"{missing} are issued here as long as the present one lives"
    if view is not None and view.refusal:
        return True, Reason.NOT_REGISTERED, view.refusal
    if verdict is not None and verdict.reason:
        return True, verdict.reason, verdict.message
    return None


def _rival(found: Situation) -> str:
    return (
        f"another cluster reports to the primary as {found.desired.cluster_name!r}: give one of the two"
        " another spec.clusterName, and invite it"
    )
