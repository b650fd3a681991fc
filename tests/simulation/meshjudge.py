"""Holds I10 against every change in every cluster of a mesh: what clusters owe to each other.

Decides from objects alone, as ``judge`` does. What the design permits between clusters is excused here and
nowhere else: a cluster that is not registered, or has not reported since it was, is outside of the mesh;
and one that was away until the primary had pruned every root that its peers know can be met by nobody any
more. Which places of one cluster do not count is its own judge's to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.errors import InvalidError
from meshca.pki import certificates, chain
from tests.fakes.engine import NAMESPACE, OPERATOR
from tests.simulation.evidence import entry, pair_ok

if TYPE_CHECKING:
    from cryptography import x509

    from tests.fakes.apiserver.store import Change
    from tests.fakes.apiserver.wire import Request
    from tests.simulation.cluster import SimCluster
    from tests.simulation.evidence import Held, Served
    from tests.simulation.judge import Judge

JSON = dict[str, Any]
SHORTEST_KEY = 50
"""Characters; what is shorter is nobody's key, but what a stranger wrote."""
JUST_NOW = timedelta(seconds=60)
"""How long a signer that was taken away may still be in a process's memory."""


@dataclass(slots=True)
class Signer:
    """A signer's certificate beside its key, and until when (world time) both were there."""

    name: str
    certificate: x509.Certificate
    until: datetime | None = None


@dataclass
class Seat:
    """One cluster as the others see it; ``since`` is when it (last) became part of the mesh."""

    cluster: SimCluster
    inside: bool = False
    since: datetime | None = None
    lost: set[bytes] = field(default_factory=set)
    """Key ids of roots that the primary pruned while this cluster was outside."""
    signers: list[Signer] = field(default_factory=list)

    @property
    def judge(self) -> Judge:
        return self.cluster.judge

    def was_outside(self, until: datetime | None) -> bool:
        """Tell whether something that was replaced at this moment is of the time outside."""
        return until is not None and self.since is not None and until <= self.since


class MeshJudge:
    """The first cluster is the primary."""

    def __init__(self, clusters: list[SimCluster]) -> None:
        self._seats = [Seat(cluster) for cluster in clusters]
        self._primary = self._seats[0]
        self._primary.inside = True
        self._by_judge = {id(seat.judge): seat for seat in self._seats}
        self._once_active: set[str] = set()
        self._keys: dict[str, Seat] = {}
        self._forced: set[bytes] = set()
        """Key ids of roots that somebody pruned by force."""
        for seat in self._seats:
            seat.judge.mesh = self
            seat.judge.follows = seat.cluster.follows is not None
            # Whoever prunes a root by force has accepted what follows, in all clusters.
            seat.judge.forced = self._primary.judge.forced
            seat.cluster.server.store.listeners.append(self._listener(seat))

    def _listener(self, seat: Seat) -> Any:
        def heard(change: Change) -> None:
            if change.resource == names.SECRET:
                self._secret(seat, change)
            elif change.resource == names.FEDERATED_CLUSTER and seat is self._primary:
                self._registration(change)

        return heard

    def sent(self, request: Request, cluster: SimCluster) -> None:
        """No CA key leaves its cluster: look at what goes to the primary."""
        if b"PRIVATE KEY" in request.body or any(key.encode() in request.body for key in self._keys):
            cluster.judge.say(f"I10: a key was sent to the primary: {request.method} {request.path}")

    def configuration(self) -> JSON:
        """Return the primary's configuration, whose rotations are the mesh's."""
        return self._primary.cluster.configuration

    # --- who belongs to the mesh -----------------------------------------------------------------

    def _registration(self, change: Change) -> None:
        seat = next((s for s in self._seats if s.cluster.name == change.item["metadata"]["name"]), None)
        if seat is None:
            return
        status = change.item.get("status") or {}
        if change.type == "DELETED" or change.item["metadata"].get("deletionTimestamp"):
            seat.inside = False
        elif not seat.inside and change.actor != OPERATOR and status.get("lastSeen"):
            bundle = self._primary.cluster.status.get("bundle") or {}
            seat.inside = set(bundle.get("roots") or ()) <= set(status.get("roots") or ())
            seat.since = seat.judge.now()

    def pruned(self, home: Judge, root: JSON, *, forced: bool) -> None:
        """A root leaves the mesh only when nobody in it needs it, or when somebody insists."""
        name = root["metadata"]["name"]
        certificate = certificates.load_one(root["spec"]["certificate"])
        if forced:
            self._forced.add(certificates.subject_key_id_of(certificate))
        if forced or home is not self._primary.judge:
            return
        for seat in self._seats[1:]:
            if not seat.inside:
                seat.lost.add(certificates.subject_key_id_of(certificate))
            for served in seat.judge.live() if seat.inside else ():
                if served.needs(certificate) and not self._excused(seat, served):
                    home.say(f"I10: the primary pruned {name!r} while {self._name(seat, served)} needs it")

    # --- a leaf of any cluster under a bundle of any ---------------------------------------------

    def issued(self, home: Judge, served: Served) -> None:
        seat = self._by_judge[id(home)]
        for other in self._others(seat):
            other.judge.forget()
            for held in other.judge.present_bundles():
                self._verify(seat, served, other, held)

    def published(self, there: Judge, held: Held) -> None:
        seat = self._by_judge[id(there)]
        for other in self._others(seat):
            for served in other.judge.live():
                self._verify(other, served, seat, held)

    def everything(self) -> None:
        """Check what time alone may have broken."""
        for seat in self._seats:
            for served in seat.judge.live():
                self.issued(seat.judge, served)

    def _others(self, seat: Seat) -> list[Seat]:
        return [other for other in self._seats if other is not seat and other.inside and seat.inside]

    def _verify(self, home: Seat, served: Served, there: Seat, held: Held) -> None:
        if self._excused(home, served) or there.was_outside(held.until):
            return
        why = there.judge.refused(served, held)
        if why and not self._given_up(held):
            where = f"bundle {held.place} of {there.cluster.name}"
            there.judge.say(f"I10: {self._name(home, served)} under {where}: {why}")

    def _excused(self, home: Seat, served: Served) -> bool:
        own = certificates.authority_key_id_of(served.chain[1])
        return own in self._forced or own in home.lost or home.was_outside(served.until)

    def _given_up(self, held: Held) -> bool:
        """Tell whether the primary trusts none of these roots any more: their holder was away too long."""
        now = self._primary.judge.now()
        trusted = {
            item["spec"]["certificate"]
            for item in self._primary.cluster.server.store.items(names.CA_ROOT)
            if (item.get("status") or {}).get("state") != "Pruned"
        }
        return not any(
            certificates.to_pem(root) in trusted and root.not_valid_after_utc > now for root in held.roots
        )

    @staticmethod
    def _name(seat: Seat, served: Served) -> str:
        return f"leaf {served.place} of {seat.cluster.name}"

    # --- what a secondary activates, and with which key -------------------------------------------

    def activated(self, home: Judge, root: JSON, before: str) -> None:
        """A secondary activates what is active in its primary, with a signer that verifies."""
        seat, name = self._by_judge[id(home)], root["metadata"]["name"]
        if seat is self._primary:
            self._once_active.add(name)
            return
        if name == before:
            return  # it was lost from the status and is put back
        if name not in self._once_active:
            home.say(f"I10: {seat.cluster.name} activated {name!r}, which never was active in the primary")
        certificate = certificates.load_one(root["spec"]["certificate"])
        if not any(_signs_under(signer, certificate, home.now()) for signer in seat.signers):
            home.say(f"I10: {seat.cluster.name} activated {name!r} without a signer under it")

    def _secret(self, seat: Seat, change: Change) -> None:
        meta, key = change.item["metadata"], entry(change.item, "tls.key")
        if len(key) > SHORTEST_KEY and self._keys.setdefault(key, seat) is not seat:
            seat.judge.say(
                f"I10: Secret {meta['name']!r} of {seat.cluster.name} has a key of another cluster"
            )
        if meta.get("namespace") != NAMESPACE:
            return
        now = seat.judge.now()
        for signer in seat.signers:
            if signer.name == meta["name"] and signer.until is None:
                signer.until = now
        seat.signers = [s for s in seat.signers if s.until is None or s.until > now - JUST_NOW]
        role = (meta.get("labels") or {}).get(names.LABEL_KEY_ROLE)
        if role == names.KEY_ROLE_SIGNER and change.type != "DELETED" and pair_ok(change.item):
            found = certificates.load_all(entry(change.item, "tls.crt"))[0]
            seat.signers.append(Signer(meta["name"], found))

    def signer_of(self, cluster: SimCluster, seconds: float) -> bool:
        """Tell whether a cluster has what it needs to issue for so long, whatever its operator thinks."""
        seat, active = self._by_judge[id(cluster.judge)], cluster.status.get("activeRoot", "")
        root = cluster.server.find(names.CA_ROOT, active)
        if root is None:
            return False
        certificate = certificates.load_one(root["spec"]["certificate"])
        end = seat.judge.now() + timedelta(seconds=seconds)
        return any(signer.until is None and _signs_under(signer, certificate, end) for signer in seat.signers)


def _signs_under(signer: Signer, root: x509.Certificate, now: datetime) -> bool:
    try:
        chain.check_issued(signer.certificate, root)
    except InvalidError:
        return False
    return signer.certificate.not_valid_after_utc > now
