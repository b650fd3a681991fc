"""Registered clusters and what they reported: who lacks a root of the bundle, who still needs an old one.

Decides from FederatedClusters that were listed consistently, and from what CARoots record of the signers
that were granted; never what follows from it. A report is the word of a stranger about itself: it can only
make a root stay for longer than it must, up to the end of the last signer that was granted under it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshca.api.v1alpha1.federation import FederatedClusterSpec, FederatedClusterStatus, LeavesUnderRoot
from meshca.api.v1alpha1.scalars import format_time
from meshca.errors import InvalidError
from meshca.planning.views import Meta, read_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from meshca.planning.ca import CASnapshot, Root

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Secondary:
    """A FederatedCluster: how it is registered and what it last reported."""

    meta: Meta
    spec: FederatedClusterSpec
    status: FederatedClusterStatus

    @property
    def name(self) -> str:
        """Return the name of the cluster."""
        return self.spec.cluster_name

    @property
    def evidence(self) -> tuple[object, ...]:
        """Return the part of it that roots depend on: equal means that no decision about them changes."""
        status = self.status
        left = tuple((item.root, bool(item.leaves), item.last_not_after) for item in status.leaves)
        known = status.last_seen is not None
        return (self.meta.uid, self.meta.deleting, known, frozenset(status.roots), status.active_root, left)


@dataclass(frozen=True, slots=True)
class Hold:
    """Who needs a root and why, and when time alone changes that (UTC)."""

    cluster: str
    why: str
    until: datetime


def read_secondary(body: Mapping[str, Any]) -> Secondary | None:
    """Project a FederatedCluster; None when its spec cannot be read."""
    try:
        spec = FederatedClusterSpec.read(body.get("spec"), at="spec")
    except InvalidError:
        return None
    return Secondary(Meta.of(body), spec, FederatedClusterStatus.read(body.get("status")))


def read_secondaries(bodies: Iterable[JSON]) -> tuple[Secondary, ...]:
    """Project FederatedClusters, by name; one whose spec cannot be read is registered nowhere."""
    found = (read_secondary(body) for body in bodies)
    return tuple(sorted((item for item in found if item is not None), key=lambda item: item.meta.name))


def registered(everyone: Iterable[Secondary], configuration: str) -> tuple[Secondary, ...]:
    """Return those that share a configuration: not being deleted, and alone or first in their namespace."""
    known = tuple(everyone)
    return tuple(
        item
        for item in known
        if item.spec.ca_configuration_name == configuration
        and not item.meta.deleting
        and not namespace_owner(item, known)
    )


def namespace_owner(secondary: Secondary, everyone: Iterable[Secondary]) -> str:
    """Name the FederatedCluster that had the namespace before, or ""."""
    for other in everyone:
        same = other.spec.namespace == secondary.spec.namespace and other.meta.uid != secondary.meta.uid
        if same and _age(other) < _age(secondary):
            return other.meta.name
    return ""


def _age(secondary: Secondary) -> tuple[str, str]:
    created = secondary.meta.created
    return (format_time(created) if created else "", secondary.meta.uid)


Lacking = tuple[Secondary, frozenset[str]]
"""A cluster with the roots (fingerprints) that it does not hold."""


def lacking(snapshot: CASnapshot, fingerprints: Iterable[str]) -> tuple[Lacking, ...]:
    """Return the clusters that ever reported and lack any of these roots, with the roots they lack."""
    return tuple(found for found in _lacking(snapshot, fingerprints) if found[0].status.last_seen)


def waits_for(snapshot: CASnapshot, fingerprints: Iterable[str]) -> str:
    """Say which clusters have yet to hold a bundle of these roots, or "".

    One that has a living signer counts although it has no report: its status may have been lost, and
    its leaves and bundles are there all the same.
    """
    found = _lacking(snapshot, fingerprints)
    behind = [item.name for item, _ in found if item.status.last_seen or _may_sign(snapshot, item)]
    return f"waits for the bundle in secondary clusters {', '.join(behind[:3])}" if behind else ""


def _lacking(snapshot: CASnapshot, fingerprints: Iterable[str]) -> tuple[Lacking, ...]:
    wanted = frozenset(fingerprints)
    found = ((item, wanted - set(item.status.roots)) for item in snapshot.secondaries)
    return tuple((item, missing) for item, missing in found if missing)


def _may_sign(snapshot: CASnapshot, secondary: Secondary) -> bool:
    ends = (_signed_until(secondary, root) for root in snapshot.roots)
    return any(end > snapshot.now for end in ends if end is not None)


def read_intermediates(text: str) -> dict[str, datetime] | None:
    """Read what a CARoot records of granted signers: the last end by cluster; None for what is no record."""
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    ends = {name: read_time(end) if isinstance(end, str) else None for name, end in found.items()}
    known = {name: end for name, end in ends.items() if end is not None}
    return known if len(known) == len(ends) else None


def extended(root: Root, cluster: str, until: datetime) -> str | None:
    """Return the record of a root with another signer in it; None when it says as much already.

    Only for a root whose record can be read.
    """
    assert root.intermediates is not None
    known = dict(root.intermediates)
    if cluster in known and known[cluster] >= until:
        return None
    known[cluster] = until
    return json.dumps({name: format_time(end) for name, end in sorted(known.items())})


def holds(snapshot: CASnapshot, root: Root) -> tuple[Hold, ...]:
    """Return the registered clusters that a root has to stay for."""
    found = (_hold(item, root, snapshot.now) for item in snapshot.secondaries)
    return tuple(item for item in found if item is not None)


def _hold(secondary: Secondary, root: Root, now: datetime) -> Hold | None:
    signed = _signed_until(secondary, root)
    if signed is None or signed <= now:
        return None
    status, fingerprint = secondary.status, root.facts.fingerprint
    if _is_silent(secondary, root):
        why = f"has not reported since another root is active; its last signer ends at {format_time(signed)}"
        return Hold(secondary.name, why, signed)
    if status.active_root in {"", fingerprint}:
        return Hold(secondary.name, f"still signs under it, until {format_time(signed)} at most", signed)
    ends = [item.last_not_after for item in status.leaves if item.root == fingerprint and _is_live(item, now)]
    if not ends:
        return None
    # A number without an end says nothing about when it is over.
    until = min(max(end or signed for end in ends), signed)
    return Hold(secondary.name, f"has leaves under it until {format_time(until)}", until)


def _signed_until(secondary: Secondary, root: Root) -> datetime | None:
    if root.intermediates is None:
        # The record was damaged: whoever is registered may have a signer that lives as long as the root.
        return root.facts.not_after
    return root.intermediates.get(secondary.name)


def _is_silent(secondary: Secondary, root: Root) -> bool:
    """Tell whether a cluster has said nothing since another root took this one's place."""
    seen, since = secondary.status.last_seen, root.rotated_out_at
    return seen is None or since is None or seen < since


def _is_live(left: LeavesUnderRoot, now: datetime) -> bool:
    return left.last_not_after > now if left.last_not_after is not None else bool(left.leaves)
