"""Years of a mesh of several clusters: secondaries that follow, lag, fall silent, are let go and come back.

What they do themselves is modelled after the contract alone: they take the bundle, have their signer granted,
issue under it whether or not they can reach the primary, and report. What the primary makes of it is the
planners' own work.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from meshca.api.v1alpha1.scalars import format_time
from meshca.pki import certificates, chain, issuance
from meshca.pki.profile import SignerProfile
from meshca.planning.intermediate import Issue, plan_request
from meshca.planning.secondaries import extended, read_intermediates
from tests.fakes import pki
from tests.fakes.caworld import _key_of
from tests.fakes.registered import request, request_snapshot, secondary
from tests.fakes.years import HOUR, Habits, Leaf, Peer, Years

if TYPE_CHECKING:
    from cryptography import x509

    from meshca.planning.ca import CAPlan
    from meshca.planning.requestview import RequestView
    from meshca.planning.secondaries import Secondary

JSON = dict[str, Any]
LIFE = "500h"


@dataclass
class Site:
    """One secondary: what it holds, and when it acts next."""

    name: str
    acts_at: datetime
    silent_until: datetime = pki.NOW
    registered: bool = True
    peer: Peer = field(default_factory=Peer)
    root: str = ""
    """Fingerprint of the root that its signer is under."""
    served: tuple[x509.Certificate, ...] = ()
    leaves: list[Leaf] = field(default_factory=lambda: [Leaf(f"leaf-{n}", automatic=True) for n in range(2)])
    report: JSON = field(default_factory=dict)

    @property
    def ends(self) -> datetime:
        return self.served[0].not_valid_after_utc if self.served else pki.NOW

    def is_alive(self, now: datetime) -> bool:
        """Tell whether it takes part: registered, with a signer that lives."""
        return self.registered and self.ends > now

    def view(self) -> Secondary:
        return secondary(self.name, self.report, maxIntermediateTTL=LIFE)


@dataclass(frozen=True)
class Manners:
    """How secondaries behave: hours between visits, how often they fall silent and for how many hours."""

    visits: tuple[float, float] = (1.0, 40.0)
    falls_silent: float = 0.0
    silence: tuple[float, float] = (1.0, 400.0)
    is_let_go: float = 0.0


class FederatedYears(Years):
    """The simulation of ``Years`` with secondaries."""

    def __init__(self, seed: int, habits: Habits, manners: Manners, sites: int = 2) -> None:
        self.manners = manners
        self.sites = [Site(f"site-{n}", pki.NOW + (n + 1) * HOUR) for n in range(sites)]
        super().__init__(seed, habits)

    def events(self) -> list[datetime | None]:
        return super().events() + [site.acts_at for site in self.sites]

    def others_act(self) -> bool:
        for site in self.sites:
            if self.notices(site):
                soon = self.world.now + timedelta(minutes=self.random.uniform(1, 15))
                site.acts_at = min(site.acts_at, soon)
        acting = [site for site in self.sites if site.acts_at <= self.world.now]
        for site in acting:
            self.act(site)
            site.acts_at = self.world.now + timedelta(hours=self.random.uniform(*self.manners.visits))
        if acting:
            self.register()
        return bool(acting)

    def notices(self, site: Site) -> bool:
        """Tell whether a cluster that listens hears that it is behind."""
        root = self.plan.signing_root
        behind = site.peer.bundle.digest != self.plan.bundle.digest
        behind = behind or (root is not None and site.root != root.fingerprint)
        return behind and site.registered and site.silent_until <= self.world.now

    def register(self) -> None:
        """Let the primary see who is registered and what was reported."""
        self.world.secondaries = tuple(site.view() for site in self.sites if site.registered)

    def act(self, site: Site) -> None:
        """Issue what is due here; and speak with the primary unless it cannot be reached."""
        now = self.world.now
        if self.random.random() < self.manners.falls_silent:
            site.silent_until = now + timedelta(hours=self.random.uniform(*self.manners.silence))
            self.seen["silent"] += 1
        if self.random.random() < self.manners.is_let_go:
            self.let_go(site)
        if site.silent_until <= now and site.registered:
            self.visit(site)
        if site.is_alive(now):
            self.issue_there(site)
        if site.silent_until <= now and site.registered:
            self.tell(site)

    def let_go(self, site: Site) -> None:
        """Un-register a cluster, or register it anew as one that has nothing."""
        self.seen["let go" if site.registered else "again"] += 1
        index = self.sites.index(site)
        self.sites[index] = Site(site.name, site.acts_at, registered=not site.registered)

    def visit(self, site: Site) -> None:
        """Take the bundle, and have a signer granted where one is due."""
        root, now = self.plan.signing_root, self.world.now
        site.peer.bundle = self.plan.bundle
        assert root is not None
        half = site.ends - timedelta(hours=250)
        if site.root == root.fingerprint and now < half:
            return
        active = next(item for item in self.world.roots if item.meta.name == root.name)
        found = plan_request(
            request_snapshot(
                now=now,
                request=_request(site),
                registration=site.view(),
                authority=root,
                root=active,
                active_root=self.world.status["activeRoot"],
            )
        )
        if not isinstance(found, Issue):
            self.seen["refused"] += 1
            return
        record = extended(active, site.name, found.until)
        if record is not None:
            self.world.change_root(active, intermediates=read_intermediates(record))
        if self.random.random() < 0.1:
            self.seen["answer lost"] += 1
            return
        site.root = root.fingerprint
        crosses = certificates.load_all(root.crosses) if root.crosses else []
        site.served = (self._sign(found), *crosses)
        self.seen["granted"] += 1

    def _sign(self, found: Issue) -> x509.Certificate:
        signer = issuance.signer_certificate(
            found.public_key,
            issuer_cert=found.root.certificate,
            issuer_key=_key_of(found.root.certificate),
            trust_domain=found.authority.trust_domain,
            configuration="default",
            cluster_name="site",
            profile=SignerProfile(timedelta(hours=500)),
            now=self.world.now,
        )
        assert signer.not_valid_after_utc <= found.until, "a signer outlives its record"
        return signer

    def issue_there(self, site: Site) -> None:
        """Move or renew leaves, some now and some at another time."""
        now = self.world.now
        for leaf in site.leaves:
            due = leaf.next_event <= now or not leaf.served
            if not due and (leaf.root == site.root or self.random.random() < 0.5):
                continue
            ttl = timedelta(hours=500) / 4 * self.random.uniform(0.5, 1)
            leaf.root, leaf.served = site.root, site.served
            leaf.not_after = min(now + ttl, site.ends)
            leaf.renew_at = now + (leaf.not_after - now) * (2 / 3)
            self.seen["issued there"] += 1

    def tell(self, site: Site) -> None:
        """Report as the contract says."""
        now = self.world.now
        left: dict[str, list[datetime]] = {}
        for leaf in site.leaves:
            if leaf.not_after > now and leaf.root != site.root:
                left.setdefault(leaf.root, []).append(leaf.not_after)
        site.report = {
            "lastSeen": format_time(now),
            "roots": list(site.peer.bundle.fingerprints),
            "activeRoot": site.root,
            "leaves": [_entry(root, ends) for root, ends in left.items()],
        }

    def check(self, plan: CAPlan) -> None:
        super().check(plan)
        now = self.world.now
        alive = [site for site in self.sites if site.is_alive(now)]
        for site in alive:
            for leaf in site.leaves:
                if leaf.not_after > now:
                    assert leaf.root in plan.bundle.fingerprints, f"I3: {site.name} still needs it"
                    assert leaf.not_after <= leaf.served[0].not_valid_after_utc, "I4"
                    self.check_everywhere(leaf, alive)
        for leaf in self.leaves:
            if leaf.not_after > now:
                self.check_everywhere(leaf, alive, at_home=False)

    def check_everywhere(self, leaf: Leaf, alive: list[Site], *, at_home: bool = True) -> None:
        """I2 for the peers of every cluster that takes part."""
        bundles = [site.peer.bundle for site in alive if site.peer.bundle.roots]
        if at_home:
            bundles += [peer.bundle for peer in self.world.peers.values()]
        now = self.world.now
        for bundle in bundles:
            key = (certificates.to_pem(*leaf.served), bundle.digest)
            if self._valid.get(key, now) <= now:
                path = chain.verify(leaf.served[0], leaf.served[1:], bundle.roots, at=now)
                self._valid[key] = min(item.not_valid_after_utc for item in path)


def _request(site: Site) -> RequestView:
    namespace = f"meshca-fed-{site.name}"
    user = f"system:serviceaccount:{namespace}:meshca"
    return request(clusterName=site.name, namespace=namespace, requester=user)


def _entry(root: str, ends: list[datetime]) -> JSON:
    end = max(ends) + timedelta(seconds=1)
    return {"root": root, "leaves": len(ends), "lastNotAfter": format_time(end)}
