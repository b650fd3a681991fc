"""One CA at a glance, from what the API server holds: what it is, what it is doing, what is wrong.

Pure: objects and a moment in, an Overview out. Never looks at a certificate: ``verification`` does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from meshca.api.v1alpha1.caroot import CARootStatus
from meshca.api.v1alpha1.castatus import CAConfigurationStatus
from meshca.api.v1alpha1.conditions import ConditionType, find_condition
from meshca.api.v1alpha1.leaf import LeafCertificateRequestStatus, LeafState
from meshca.api.v1alpha1.scalars import format_time
from meshca.cli.advice import Weight, advice, leaf_advice, weigh
from meshca.cli.reading import configuration_of, name_of, namespace_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

JSON = dict[str, Any]
MOST_LISTED = 10


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to know, and what to do about it."""

    weight: Weight
    text: str
    todo: str = ""


@dataclass(slots=True)
class Leaves:
    """The leaves of one configuration, counted; of those that fail, the first ten."""

    states: Counter[str] = field(default_factory=Counter)
    failing: int = 0
    listed: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Overview:
    """What there is to say about one CAConfiguration; times are UTC."""

    name: str
    status: CAConfigurationStatus
    root_not_after: datetime | None
    root_state: str
    leaves: Leaves
    remarks: tuple[Remark, ...]

    @property
    def fine(self) -> bool:
        """Tell whether nothing is wrong."""
        return all(remark.weight < Weight.WRONG for remark in self.remarks)

    def to_dict(self) -> JSON:
        """Return it as JSON, for programs."""
        written = self.status.to_dict()
        known = ("trustDomain", "activeRoot", "signer", "bundle", "rotation", "conditions")
        return {
            "name": self.name,
            "fine": self.fine,
            "rootNotAfter": format_time(self.root_not_after) if self.root_not_after else None,
            **{key: written.get(key) for key in known},
            "leaves": {
                "states": dict(self.leaves.states),
                "failing": self.leaves.failing,
                "listed": self.leaves.listed,
            },
            "remarks": [
                {"wrong": remark.weight is Weight.WRONG, "text": remark.text, "todo": remark.todo}
                for remark in self.remarks
            ],
        }


def count_leaf(by_configuration: dict[str, Leaves], item: JSON, now: datetime) -> None:
    """Count one LeafCertificateRequest; what is in it may come from an untrusted user."""
    leaves = by_configuration.setdefault(configuration_of(item), Leaves())
    status = LeafCertificateRequestStatus.read(item.get("status"))
    state = str(status.state) if status.state else str(LeafState.PENDING)
    expired = status.not_after is not None and status.not_after <= now
    leaves.states["Expired" if expired else state] += 1
    if why := _failure(item, status, expired=expired):
        leaves.failing += 1
        if len(leaves.listed) < MOST_LISTED:
            leaves.listed.append(f"{namespace_of(item)}/{name_of(item)}: {why}")


def _failure(item: JSON, status: LeafCertificateRequestStatus, *, expired: bool) -> str:
    spec = item.get("spec") or {}
    automatic = "secretName" in spec or spec.get("renewal") == "Automatic"
    ready = find_condition(status.conditions, ConditionType.READY)
    told = f"{ready.reason}: {ready.message} ({leaf_advice(ready.reason)})" if ready else "no reason given"
    if expired:
        # The holder of a Manual one makes a new object; the old one just goes.
        return f"expired and not renewed; {told}" if automatic else ""
    if status.state is LeafState.RENEW:
        return f"renewal is late; {told}"
    waits = status.state in {None, LeafState.PENDING} and ready is not None and ready.status == "False"
    return told if status.state is LeafState.FAILED or waits else ""


def overview(configuration: JSON, roots: Iterable[JSON], leaves: Leaves, now: datetime) -> Overview:
    """Look at one CAConfiguration, all CARoots and its counted leaves."""
    status = CAConfigurationStatus.read(configuration.get("status"))
    active = next((item for item in roots if name_of(item) == status.active_root), None)
    root = CARootStatus.read((active or {}).get("status"))
    remarks = [
        *_condition_remarks(status),
        *_behind(configuration, status),
        *_ends(status, root.not_after, now),
        *_leaf_remarks(leaves),
    ]
    return Overview(
        name=name_of(configuration),
        status=status,
        root_not_after=root.not_after,
        root_state=str(root.state or "") if active else "missing" if status.active_root else "none yet",
        leaves=leaves,
        remarks=tuple(sorted(remarks, key=lambda remark: -remark.weight)),
    )


def _condition_remarks(status: CAConfigurationStatus) -> Iterable[Remark]:
    if not status.is_true("Ready") and status.condition("Ready") is None:
        yield Remark(Weight.WRONG, "the operator has not looked at it", "see whether the operator runs")
    for found in status.conditions:
        weight = weigh(found.type, found.status, found.reason)
        if weight:
            text = f"{found.type} is {found.status}, {found.reason}: {found.message}"
            yield Remark(weight, text, advice(found.reason))


def _behind(configuration: JSON, status: CAConfigurationStatus) -> Iterable[Remark]:
    generation = configuration["metadata"].get("generation", 0)
    if status.conditions and status.observed_generation < generation:
        yield Remark(
            Weight.NOTE, "the operator has not yet looked at the last change", "wait, or see its log"
        )
    targets = status.bundle.targets
    if targets.current < targets.total:
        where = f": {', '.join(targets.behind)}" if targets.behind else ""
        yield Remark(Weight.NOTE, f"the bundle is behind in {targets.total - targets.current} places{where}")


def _ends(status: CAConfigurationStatus, root_end: datetime | None, now: datetime) -> Iterable[Remark]:
    if root_end is not None and root_end <= now:
        yield Remark(Weight.WRONG, "the active root has expired", advice("RootExpired"))
    signer = status.signer
    if signer is not None and signer.not_after is not None and signer.not_after <= now:
        yield Remark(Weight.WRONG, "the signer has expired", "see the operator's log")


def _leaf_remarks(leaves: Leaves) -> Iterable[Remark]:
    if leaves.failing:
        yield Remark(Weight.WRONG, f"{leaves.failing} leaves have no certificate they could use")
    if waiting := leaves.states["Rotate"]:
        yield Remark(
            Weight.NOTE, f"{waiting} leaves wait for their holders", "their holders make a new request each"
        )
