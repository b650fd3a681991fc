"""Since when the shipped admission policy has guarded requests without a break.

Decides from the uid and generation of policy and binding, compared with a durable record, so that a
policy that was weakened and put back while nobody looked starts anew. Never reads a clock and never
compares policies itself: whether they are as shipped is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshca.api.v1alpha1.scalars import format_time
from meshca.planning.authority import Admission
from meshca.planning.views import Meta, read_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class AdmissionSnapshot:
    """What was observed of policy and binding (None = absent) and what the record said (empty = none).

    ``digest`` is that of the policy shipped with this version; ``predecessors`` are those of versions
    from which an upgrade does not interrupt.
    """

    now: datetime
    policy: Meta | None
    binding: Meta | None
    as_shipped: bool
    digest: str
    predecessors: frozenset[str]
    record: Mapping[str, str]
    name: str


@dataclass(frozen=True, slots=True)
class AdmissionPlan:
    """The verdict, and the record to keep when it has changed."""

    admission: Admission
    record: dict[str, str] | None = None


def plan_admission(snapshot: AdmissionSnapshot) -> AdmissionPlan:
    """Decide whether the policy is in force, and since when."""
    policy, binding = snapshot.policy, snapshot.binding
    if policy is None or binding is None:
        missing = "ValidatingAdmissionPolicy" if policy is None else "ValidatingAdmissionPolicyBinding"
        return _out_of_force(f"{missing} {snapshot.name!r} is missing; apply the chart's policies")
    if not snapshot.as_shipped:
        return _out_of_force(
            f"ValidatingAdmissionPolicy {snapshot.name!r} or its binding is not as shipped; apply the chart's"
        )
    current = _identity(policy, binding, snapshot.digest)
    recorded = read_time(snapshot.record.get("since", ""))
    if recorded is not None and all(snapshot.record.get(field) == value for field, value in current.items()):
        return AdmissionPlan(Admission(in_force=True, since=recorded))
    since = recorded if recorded is not None and _upgraded(snapshot, current) else _start(snapshot)
    return AdmissionPlan(
        Admission(in_force=True, since=since), record=current | {"since": format_time(since)}
    )


def _out_of_force(message: str) -> AdmissionPlan:
    return AdmissionPlan(Admission(in_force=False, since=None, message=message))


def _identity(policy: Meta, binding: Meta, digest: str) -> dict[str, str]:
    return {
        "policyUID": policy.uid,
        "policyGeneration": str(policy.generation),
        "bindingUID": binding.uid,
        "bindingGeneration": str(binding.generation),
        "digest": digest,
    }


def _upgraded(snapshot: AdmissionSnapshot, current: Mapping[str, str]) -> bool:
    """Tell whether one change of the policy led from a shipped one to the present one."""
    record = snapshot.record
    if record.get("digest") not in snapshot.predecessors:
        return False
    if (record.get("policyUID"), record.get("bindingUID")) != (current["policyUID"], current["bindingUID"]):
        return False
    return all(
        record.get(field) in {current[field], str(int(current[field]) - 1)}
        for field in ("policyGeneration", "bindingGeneration")
    )


def _start(snapshot: AdmissionSnapshot) -> datetime:
    """Return the earliest moment from which both are known to be unchanged."""
    policy, binding = snapshot.policy, snapshot.binding
    assert policy is not None
    assert binding is not None
    if policy.generation == binding.generation == 1 and policy.created and binding.created:
        return max(policy.created, binding.created)
    return snapshot.now.replace(microsecond=0)
