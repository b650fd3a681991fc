"""What the status of a CAConfiguration should say.

Decides texts, conditions and counters from a Situation; never what to do. The same situation always
gives the same status, so that writing nothing is the normal case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshca.api.v1alpha1.conditions import (
    Condition,
    ConditionType,
    Reason,
    find_condition,
    observed,
    set_condition,
)
from meshca.api.v1alpha1.scalars import format_time
from meshca.planning import laggards, rotation, secondarystatus, signers
from meshca.planning.authority import ANNOUNCED_AFTER, Unavailable
from meshca.planning.rotationstatus import in_progress, rotation_status

if TYPE_CHECKING:
    from datetime import datetime

    from meshca.api.v1alpha1.castatus import RotationPhase
    from meshca.planning.ca import Root
    from meshca.planning.situation import Situation

JSON = dict[str, Any]
MOST_LISTED = 10
CLOCKS_DIFFER = (
    "the operator's clock and the API server's differ by more than a minute: nothing irreversible is done"
    " until they agree; set the clocks of both nodes"
)


def unavailable(message: str) -> Unavailable:
    """Say why nothing is issued now."""
    return Unavailable(Reason.SIGNER_NOT_READY, message)


def why_not_ready(situation: Situation) -> str:
    """Say in a sentence what a person can do about a CA that issues nothing."""
    return f"CAConfiguration {situation.snapshot.meta.name!r} is not ready: {_ready(situation)[2]}"


def configuration_status(situation: Situation) -> JSON:
    """Return the status that a CAConfiguration should have now."""
    snapshot = situation.snapshot
    status: JSON = {"observedGeneration": snapshot.meta.generation}
    if not situation.stopped or snapshot.status.get("trustDomain"):
        status["trustDomain"] = situation.trust_domain.name
    if situation.active_name:
        status["activeRoot"] = situation.active_name
    status |= _bundle(situation) | _signer(situation) | secondarystatus.federation(situation)
    phase = rotation.phase(situation) if not situation.stopped else None
    told = rotation_status(situation, phase) if not situation.stopped else rotation.recorded(situation)
    if told:
        status["rotation"] = told
    status["conditions"] = [condition.to_dict() for condition in _conditions(situation, phase)]
    return status


def next_expiry_change(situation: Situation) -> datetime | None:
    """Return when a condition about the root's end changes."""
    root, desired = situation.root, situation.settled
    if root is None or desired is None:
        return None
    warning = rotation.warned_from(root, desired)
    return warning if warning > situation.snapshot.now else root.facts.not_after


def next_misnamed_end(situation: Situation) -> datetime | None:
    """Return when the first leaf expires that carries a name which is no longer given (UTC)."""
    misnamed = situation.snapshot.census.misnamed
    return misnamed.first_end if misnamed is not None else None


def _conditions(situation: Situation, phase: RotationPhase | None) -> tuple[Condition, ...]:
    snapshot = situation.snapshot
    conditions = observed(snapshot.status)
    before = find_condition(conditions, ConditionType.ROTATION_IN_PROGRESS)
    turning = in_progress(situation, phase, before.reason if before else "")
    for kind, (state, reason, message) in (
        (ConditionType.READY, _ready(situation)),
        (ConditionType.ROTATION_IN_PROGRESS, turning),
        (ConditionType.ROOT_EXPIRING_SOON, _expiring(situation)),
        (ConditionType.DEGRADED, _degraded(situation)),
    ):
        conditions = set_condition(
            conditions,
            kind,
            "True" if state else "False",
            reason,
            message,
            observed_generation=snapshot.meta.generation,
            now=snapshot.now,
        )
    return secondarystatus.with_reachable(situation, conditions)


def _ready(situation: Situation) -> tuple[bool, str, str]:
    fault = _fault(situation)
    if fault is not None:
        return False, *fault
    if situation.root is None or situation.signer is None or not situation.active_name:
        return False, Reason.PENDING, _waits(situation)
    return _admitted(situation)


def _waits(situation: Situation) -> str:
    if situation.snapshot.clocks_differ:
        return CLOCKS_DIFFER
    if situation.primary is not None:
        return secondarystatus.waits_for(situation)
    return "root and signer are being made"


def _fault(situation: Situation) -> tuple[str, str] | None:
    snapshot, root = situation.snapshot, situation.root
    if snapshot.meta.deleting:
        return Reason.PENDING, "the CAConfiguration is being deleted; its roots, keys and bundles stay"
    if situation.problem is not None:
        return situation.problem.reason, situation.problem.message
    if snapshot.provider_problem:
        return Reason.PROVIDER_ERROR, snapshot.provider_problem
    if root is None:
        # A secondary mirrors again what it has lost.
        return _root_lost(situation) if situation.primary is None else None
    return _root_fault(situation, root)


def _root_fault(situation: Situation, root: Root) -> tuple[str, str] | None:
    if root.facts.not_after <= situation.snapshot.now:
        return Reason.ROOT_EXPIRED, f"root {root.meta.name!r} has expired"
    followed = situation.primary is not None and root.mirrored
    if situation.root_secret is None and not followed:
        return Reason.ROOT_KEY_MISSING, _key_missing(situation, root)
    return None


def _root_lost(situation: Situation) -> tuple[str, str] | None:
    """Say what is left of a root that there was; None when there never was one."""
    snapshot, lost = situation.snapshot, ""
    broken = [secret for secret in snapshot.root_secrets if not secret.usable]
    if broken:
        lost = f"Secret {broken[0].meta.name!r}: {broken[0].problem}; put it back"
    elif snapshot.unreadable_roots:
        lost = f"the certificate of CARoot {snapshot.unreadable_roots[0]!r} cannot be read; put it back"
    elif situation.active_name:
        lost = f"CARoot {situation.active_name!r} and its Secret are missing; put them back from a backup"
    elif snapshot.signer_secrets and not snapshot.root_secrets:
        lost = "there is a signer, but neither CARoot nor Secret of its root; put them back from a backup"
    return (Reason.ROOT_KEY_MISSING, lost) if lost else None


def _admitted(situation: Situation) -> tuple[bool, str, str]:
    admission = situation.snapshot.admission
    if not admission.in_force or admission.since is None:
        return False, Reason.PENDING, admission.message
    settled = admission.since + ANNOUNCED_AFTER
    if situation.snapshot.now < settled:
        return (
            False,
            Reason.PENDING,
            f"the admission policy is taking effect: requests are accepted from {format_time(settled)} on",
        )
    assert situation.root is not None
    return True, Reason.INITIALISED, f"root {situation.root.meta.name!r} is active"


def _key_missing(situation: Situation, root: Root) -> str:
    if root.mirrored:
        return (
            f"the key of root {root.meta.name!r} is in another cluster, the former primary; signing goes on"
            " until the present signer ends: rotate to a root of this cluster, by setting"
            " spec.rotation.trigger and spec.rotation.forceWithoutCrossSigning to the same new text"
        )
    for secret in situation.snapshot.root_secrets:
        if secret.meta.name == root.key_secret:
            return f"Secret {root.key_secret!r}: {secret.problem or 'holds another root'}; put it back"
    more = "signing goes on with the present signer" if situation.signer else "nothing can be signed"
    return (
        f"Secret {root.key_secret!r} with the key of root {root.meta.name!r} is missing; {more}; put it back"
    )


def _expiring(situation: Situation) -> tuple[bool, str, str]:
    root, desired, now = situation.root, situation.settled, situation.snapshot.now
    if root is None or desired is None:
        return False, Reason.AS_EXPECTED, "there is no root yet"
    end = format_time(root.facts.not_after)
    if root.facts.not_after <= now:
        return True, Reason.ROOT_EXPIRED, f"root {root.meta.name!r} expired at {end}"
    if rotation.warned_from(root, desired) <= now:
        return True, Reason.ROOT_EXPIRING_SOON, f"root {root.meta.name!r} expires at {end}"
    return False, Reason.AS_EXPECTED, f"root {root.meta.name!r} expires at {end}"


def _degraded(situation: Situation) -> tuple[bool, str, str]:
    snapshot = situation.snapshot
    if not snapshot.admission.in_force:
        return True, Reason.ADMISSION_POLICY_MISSING, snapshot.admission.message
    if snapshot.clocks_differ:
        return True, Reason.CLOCK_SKEW, CLOCKS_DIFFER
    wrong = secondarystatus.degraded(situation) or secondarystatus.unkept_token(situation)
    return wrong or _impaired(situation)


def _impaired(situation: Situation) -> tuple[bool, str, str]:
    """Say what is wrong with the places and clusters that are to follow, and with names."""
    snapshot = situation.snapshot
    before = find_condition(observed(snapshot.status), ConditionType.DEGRADED)
    if not snapshot.publication.complete and before and before.reason == Reason.NAMESPACES_NOT_WRITABLE:
        return True, before.reason, before.message
    refused = snapshot.publication.refused
    if refused:
        listed = "; ".join(f"{name}: {why}" for name, why in refused[:MOST_LISTED])
        more = f" and {len(refused) - MOST_LISTED} more" if len(refused) > MOST_LISTED else ""
        return True, Reason.NAMESPACES_NOT_WRITABLE, f"the trust bundle cannot be written to {listed}{more}"
    behind = laggards.message(situation)
    if behind:
        return True, Reason.SECONDARY_BEHIND, behind
    return _misnamed(situation, before) or (False, Reason.AS_EXPECTED, "everything is as expected")


def _misnamed(situation: Situation, before: Condition | None) -> tuple[bool, str, str] | None:
    """Say which leaves carry a name that is no longer given, or None."""
    misnamed = situation.snapshot.census.misnamed
    if misnamed is None:
        # After a start nobody has read the chains yet: no reason to write anything.
        said = before is not None and before.reason == Reason.IDENTITY_TEMPLATE_CHANGED
        return (True, before.reason, before.message) if before is not None and said else None
    if not misnamed.count:
        return None
    others = " and others" if misnamed.count > len(misnamed.names) else ""
    message = (
        "live leaves whose SPIFFE ID spec.identity.pathTemplate and spec.clusterName no longer give:"
        f" {_about(misnamed.count)} ({', '.join(misnamed.names)}{others}); each gets its new name at its"
        " renewal, where a CSR that asks for the old URI is refused: its holder must make a new request"
    )
    return True, Reason.IDENTITY_TEMPLATE_CHANGED, message


def _about(number: int) -> str:
    """Return a count in words that do not change with every single leaf of very many."""
    if number <= MOST_LISTED:
        return str(number)
    step = 10 ** max(len(str(number)) - 2, 0)
    return str(number) if step == 1 else f"at least {number // step * step}"


def _bundle(situation: Situation) -> JSON:
    before = _recorded_bundle(situation)
    if not situation.bundle.roots or situation.stopped:
        return {"bundle": before} if before else {}
    sequence = before.get("sequence")
    last = sequence if isinstance(sequence, int) else 0
    if before.get("digest") != situation.bundle.digest or last == 0:
        # Wall time as the floor: the sequence goes on rising although a restore loses the status.
        last = max(last + 1, int(situation.snapshot.now.timestamp()))
    return {
        "bundle": {
            "digest": situation.bundle.digest,
            "sequence": last,
            "roots": list(situation.bundle.fingerprints),
            "targets": _targets(situation),
        }
    }


def _recorded_bundle(situation: Situation) -> JSON:
    recorded = situation.snapshot.status.get("bundle")
    return recorded if isinstance(recorded, dict) else {}


def _targets(situation: Situation) -> JSON:
    publication = situation.snapshot.publication
    recorded = _recorded_bundle(situation).get("targets")
    if not publication.complete and isinstance(recorded, dict):
        # After a start the places are looked at anew, one by one: no reason to write anything.
        return recorded
    targets: JSON = {"total": publication.total, "current": publication.current}
    if publication.behind:
        targets["behind"] = list(publication.behind[:MOST_LISTED])
    return targets


def _signer(situation: Situation) -> JSON:
    signer = situation.signer
    if signer is None or signer.facts is None or situation.settled is None:
        return {}
    assert situation.root is not None
    renew_at = signers.renew_at(signer, situation.root, situation.settled)
    return {
        "signer": {
            "subjectKeyID": signer.facts.subject_key_id,
            "notAfter": format_time(signer.facts.not_after),
            "renewAt": format_time(renew_at),
        }
    }
