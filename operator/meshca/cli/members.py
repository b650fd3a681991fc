"""``meshca federation status``: who shares the roots of this cluster, and whose roots this cluster shares.

Reads, and says what is wrong; pure but for ``look``. What a secondary reports of itself is shown as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.api.v1alpha1.caroot import CARootStatus
from meshca.api.v1alpha1.castatus import CAConfigurationStatus
from meshca.api.v1alpha1.conditions import ConditionType, Reason
from meshca.api.v1alpha1.federation import FederatedClusterStatus
from meshca.api.v1alpha1.scalars import format_time
from meshca.cli.advice import Weight, advice
from meshca.cli.reading import configurations, name_of, roots
from meshca.cli.screen import moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from meshca.api.v1alpha1.metadata import Status
    from meshca.cli.screen import Screen
    from meshca.kube.gateway import Gateway

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to know about one cluster or configuration."""

    weight: Weight
    about: str
    text: str


@dataclass(frozen=True, slots=True)
class Secondary:
    """A cluster that shares our roots; ``leaves`` counts by name of the root."""

    name: str
    configuration: str
    registered: str
    converged: str
    status: FederatedClusterStatus
    leaves: tuple[tuple[str, int], ...]

    def to_dict(self) -> JSON:
        """Return it as JSON, for programs."""
        written = self.status.to_dict()
        known = ("activeRoot", "bundleDigest", "signerNotAfter", "lastSeen", "conditions")
        return {
            "name": self.name,
            "configuration": self.configuration,
            "registered": self.registered,
            "converged": self.converged,
            **{key: written.get(key) for key in known},
            "leaves": dict(self.leaves),
        }


@dataclass(frozen=True, slots=True)
class Followed:
    """A primary whose roots a CAConfiguration of ours shares."""

    configuration: str
    primary: str
    reachable: str
    sequence: int
    active_root: str
    follows: str

    def to_dict(self) -> JSON:
        """Return it as JSON, for programs."""
        return {
            "configuration": self.configuration,
            "primary": self.primary,
            "reachable": self.reachable,
            "sequence": self.sequence,
            "activeRoot": self.active_root,
            "followedRoot": self.follows,
        }


@dataclass(frozen=True, slots=True)
class Members:
    """All that there is to say."""

    secondaries: tuple[Secondary, ...]
    followed: tuple[Followed, ...]
    remarks: tuple[Remark, ...]

    @property
    def fine(self) -> bool:
        """Tell whether nothing is wrong."""
        return all(remark.weight < Weight.WRONG for remark in self.remarks)

    def to_dict(self) -> JSON:
        """Return it as JSON, for programs."""
        return {
            "fine": self.fine,
            "secondaries": [one.to_dict() for one in self.secondaries],
            "primaries": [one.to_dict() for one in self.followed],
            "remarks": [
                {"wrong": one.weight is Weight.WRONG, "about": one.about, "text": one.text}
                for one in self.remarks
            ],
        }


async def look(gateway: Gateway) -> Members:
    """Read registrations, CAConfigurations and CARoots."""
    registered = sorted(await gateway.list(names.FEDERATED_CLUSTER), key=name_of)
    return members(registered, await configurations(gateway), await roots(gateway))


def members(registered: Iterable[JSON], authorities: Iterable[JSON], trusted: Iterable[JSON]) -> Members:
    """Look at what both roles of a cluster hold."""
    called = {CARootStatus.read(item.get("status")).fingerprint: name_of(item) for item in trusted}
    remarks: list[Remark] = []
    secondaries = []
    for item in registered:
        secondaries.append(_secondary(item, called))
        remarks += _about_secondary(item)
    followed = []
    for item in authorities:
        if primary := ((item["spec"].get("federation") or {}).get("primary")):
            followed.append(_followed(item, primary, called))
        remarks += _about_authority(item, secondary=bool(primary))
    return Members(tuple(secondaries), tuple(followed), tuple(remarks))


def _secondary(item: JSON, called: Mapping[str, str]) -> Secondary:
    status = FederatedClusterStatus.read(item.get("status"))
    leaves = tuple((called.get(one.root, one.root[:10]), one.leaves) for one in status.leaves if one.leaves)
    return Secondary(
        name_of(item),
        str(item["spec"].get("caConfigurationName", "default")),
        _said(status, ConditionType.READY),
        _said(status, ConditionType.CONVERGED),
        status,
        leaves,
    )


def _followed(item: JSON, primary: JSON, called: Mapping[str, str]) -> Followed:
    status = CAConfigurationStatus.read(item.get("status"))
    kept = status.federation
    followed = kept.active_root if kept else ""
    return Followed(
        name_of(item),
        f"{primary.get('caConfigurationName', 'default')}, by Secret {primary['kubeconfigSecretName']}",
        _said(status, ConditionType.REACHABLE),
        kept.sequence if kept else 0,
        status.active_root,
        called.get(followed, followed[:10]),
    )


def _said(status: Status, kind: str) -> str:
    """Return ``yes``, or the reason why not; ``-`` while nobody has looked."""
    found = status.condition(kind)
    if found is None:
        return "-"
    return "yes" if found.status == "True" else f"no, {found.reason}"


def _about_secondary(item: JSON) -> Iterator[Remark]:
    status = FederatedClusterStatus.read(item.get("status"))
    if not status.conditions:
        yield Remark(Weight.NOTE, name_of(item), "the operator has not looked at it yet")
    if status.last_seen is None:
        yield Remark(Weight.NOTE, name_of(item), "it has never reported: has its join manifest been applied?")
    for found in status.conditions:
        if found.status == "True":
            continue
        weight = (
            Weight.NOTE if found.type == ConditionType.CONVERGED or status.last_seen is None else Weight.WRONG
        )
        yield Remark(weight, name_of(item), f"not {found.type}, {found.reason}: {found.message}")


def _about_authority(item: JSON, *, secondary: bool) -> Iterator[Remark]:
    status = CAConfigurationStatus.read(item.get("status"))
    degraded = status.condition(ConditionType.DEGRADED)
    # Whatever else degrades a primary is for ``meshca status`` to say.
    if (
        degraded is not None
        and degraded.status == "True"
        and (secondary or degraded.reason == Reason.SECONDARY_BEHIND)
    ):
        text = f"Degraded, {degraded.reason}: {degraded.message} (to do: {advice(degraded.reason)})"
        yield Remark(Weight.WRONG, name_of(item), text)
    if not secondary:
        return
    for kind in (ConditionType.READY, ConditionType.REACHABLE):
        found = status.condition(kind)
        if found is None:
            yield Remark(Weight.NOTE, name_of(item), f"the operator has not said yet whether it is {kind}")
        elif found.status != "True":
            text = f"not {kind}, {found.reason}: {found.message} (to do: {advice(found.reason)})"
            yield Remark(Weight.WRONG, name_of(item), text)


SECONDARIES = ("SECONDARY", "CONFIGURATION", "REGISTERED", "LAST SEEN", "CONVERGED", "SIGNER UNTIL", "LEAVES")
PRIMARIES = ("CONFIGURATION", "PRIMARY", "REACHABLE", "SEQUENCE", "ACTIVE ROOT", "FOLLOWS")


def show(screen: Screen, found: Members, now: datetime) -> None:
    """Lay both roles out as tables, and below them what is to be known."""
    if found.secondaries:
        screen.table(SECONDARIES, [_row(one, now) for one in found.secondaries])
    if found.followed:
        screen.table(
            PRIMARIES,
            [
                (
                    one.configuration,
                    one.primary,
                    one.reachable,
                    str(one.sequence),
                    one.active_root or "-",
                    one.follows or "-",
                )
                for one in found.followed
            ],
        )
    if not (found.secondaries or found.followed):
        screen.line("this cluster shares no roots: nobody is registered, and it follows nobody")
    for remark in found.remarks:
        wrong = remark.weight is Weight.WRONG
        screen.line(
            f"{'WRONG' if wrong else 'note'}  {remark.about}: {remark.text}",
            "bold red" if wrong else "yellow",
        )


def _row(one: Secondary, now: datetime) -> tuple[str, ...]:
    status = one.status
    return (
        one.name,
        one.configuration,
        one.registered,
        moment(status.last_seen, now),
        one.converged,
        format_time(status.signer_not_after) if status.signer_not_after else "-",
        ", ".join(f"{root}: {count}" for root, count in one.leaves) or "-",
    )
