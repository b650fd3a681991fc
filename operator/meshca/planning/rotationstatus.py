"""What the status says of a rotation: phase, counts, stragglers, and the condition RotationInProgress.

Decides texts and numbers from a Situation, never what to do. The same situation gives the same status; a
figure that only time changes is written along with the next count that changes.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from meshca.api.v1alpha1.castatus import RotationPhase
from meshca.api.v1alpha1.conditions import Reason
from meshca.api.v1alpha1.scalars import format_time
from meshca.pki.profile import LEAF_TTL_MAX
from meshca.planning import rotation, secondarystatus

if TYPE_CHECKING:
    from meshca.planning.situation import Situation

JSON = dict[str, Any]
MOST_LISTED: Final = 10
_WORDS: Final = {
    RotationPhase.PREPARE: "the new root, its cross-certificates and its signer are being made",
    RotationPhase.PUBLISH: "the new root is being published",
    RotationPhase.ACTIVATE: "the new root is being put into use",
}


def rotation_status(found: Situation, phase: RotationPhase | None) -> JSON:
    """Return ``status.rotation``: the present rotation, or the last one."""
    told = rotation.recorded(found)
    if phase in rotation.BEFORE:
        return _before(found, phase, told)
    if phase is RotationPhase.REISSUE:
        return _reissuing(found, told)
    if phase is RotationPhase.COMPLETE:
        return _complete(found, told)
    # Aborted, or none: what was recorded stays, without a phase.
    return {key: told[key] for key in ("from", "to", "startedAt") if key in told}


def in_progress(found: Situation, phase: RotationPhase | None, was: str) -> tuple[bool, str, str]:
    """Return the condition RotationInProgress; ``was`` is its reason up to now."""
    root = found.root
    if found.hold is not None and phase is not RotationPhase.REISSUE:
        return False, found.hold.reason, found.hold.message
    if phase in rotation.BEFORE:
        words = _WORDS[phase] + secondarystatus.moving(found)
        if phase is RotationPhase.PUBLISH:
            words = f"{words}: {rotation.gate(found).why}"
        return True, Reason(phase.value), words
    if phase is RotationPhase.REISSUE:
        held = f"; the next one {found.hold.message}" if found.hold is not None else ""
        return True, Reason.REISSUE, f"leaves are moving to root {found.active_name!r}{held}"
    if phase is RotationPhase.COMPLETE:
        return False, Reason.COMPLETED, _completed(found)
    told = rotation.recorded(found)
    undone = told.get("phase") in rotation.BEFORE and told.get("to") != found.active_name
    if told and (undone or was == Reason.ABORTED) and root is not None:
        return False, Reason.ABORTED, f"the rotation was taken back; root {root.meta.name!r} stays in force"
    return False, Reason.NONE, _nothing(found)


def next_change(found: Situation, phase: RotationPhase | None) -> tuple[datetime, ...]:
    """Return when time alone changes something about the rotation (UTC)."""
    if phase is RotationPhase.PUBLISH:
        until = rotation.gate(found).until
        return (until,) if until is not None else ()
    if phase is RotationPhase.REISSUE:
        end = rotation.deadline(found)
        first = tuple(item.not_after for item in found.snapshot.census.stragglers[:1])
        return (*first, *((end,) if end is not None else ()))
    return ()


def _nothing(found: Situation) -> str:
    desired = found.settled
    if desired is not None and desired.force and desired.force != desired.trigger:
        return (
            "no rotation is asked for; spec.rotation.forceWithoutCrossSigning alone does nothing: it has to"
            " be the same new text as spec.rotation.trigger"
        )
    return "no rotation is asked for"


def _completed(found: Situation) -> str:
    told = rotation.recorded(found)
    over = told.get("phase") == RotationPhase.COMPLETE
    # Stragglers that the status names are from before the last leaf moved, until it says Complete.
    if told.get("stragglers") if over else found.snapshot.census.left:
        return (
            f"root {found.active_name!r} is active; the deadline passed with leaves that have not moved: see"
            " status.rotation.stragglers"
        )
    return f"root {found.active_name!r} is active and every leaf has moved"


def _before(found: Situation, phase: RotationPhase | None, told: JSON) -> JSON:
    root, target = found.root, found.target
    assert root is not None
    assert phase is not None
    to = target.meta.name if target is not None else ""
    same = (
        told.get("from") == root.meta.name
        and told.get("phase") in rotation.BEFORE
        and told.get("to", "") in {"", to}
    )
    status: JSON = {"phase": phase.value, "from": root.meta.name}
    if to:
        status["to"] = to
    started = told.get("startedAt") if same else None
    status["startedAt"] = started or format_time(found.snapshot.now)
    return status


def _reissuing(found: Situation, told: JSON) -> JSON:
    census, root = found.snapshot.census, found.root
    assert root is not None
    if census.unread and told.get("phase") == RotationPhase.REISSUE:
        # After a start leaves are read one by one: no reason to write anything.
        return told
    old = rotation.previous(found)
    again = told.get("phase") == RotationPhase.REISSUE
    before = told.get("leaves")
    total = max(before if again and isinstance(before, int) else 0, census.left)
    moved = total - census.left
    status: JSON = {
        "phase": RotationPhase.REISSUE.value,
        "from": told.get("from") or (old.meta.name if old is not None else ""),
        "to": root.meta.name,
        "startedAt": told.get("startedAt") or format_time(root.activated_at or found.snapshot.now),
    }
    end = rotation.deadline(found)
    if end is not None:
        status["deadline"] = format_time(end)
    status["leaves"], status["reissued"] = total, moved
    # What nobody has read yet is not known to have moved.
    status["percent"] = 100 * moved // total if total else 0 if census.unread else 100
    if again and told.get("reissued") == moved and told.get("estimatedEnd"):
        status["estimatedEnd"] = told["estimatedEnd"]
    elif census.left:
        status["estimatedEnd"] = format_time(_estimate(found))
    stragglers = _stragglers(found)
    if stragglers:
        status["stragglers"] = stragglers
    return status


def _complete(found: Situation, told: JSON) -> JSON:
    if told.get("phase") == RotationPhase.COMPLETE:
        return told
    status = _reissuing(found, told) if told.get("phase") == RotationPhase.REISSUE else dict(told)
    status["phase"] = RotationPhase.COMPLETE.value
    status.pop("estimatedEnd", None)
    if not found.snapshot.census.left:
        status["percent"] = 100
        status["reissued"] = status.get("leaves", 0)
        status.pop("stragglers", None)
    return status


def _stragglers(found: Situation) -> list[str]:
    return [
        f"{item.name}: {item.reason}" if item.reason else item.name
        for item in found.snapshot.census.stragglers[:MOST_LISTED]
    ]


def _estimate(found: Situation) -> datetime:
    census, now = found.snapshot.census, found.snapshot.now
    rate = found.desired.reissue_per_second
    # Any rate above zero is allowed, but a leaf that is not reached expires.
    seconds = min(census.automatic / rate, LEAF_TTL_MAX.total_seconds())
    paced = now + timedelta(seconds=math.ceil(seconds))
    return max(paced, census.manual_end or paced)
