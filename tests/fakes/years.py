"""Years of a mesh: leaves, peers and people around the planner of a CA, on a clock that jumps.

Time goes from event to event: what the plan is due for, a leaf to renew, a peer that takes a bundle, a wish.
After every single step the invariants are checked; certificates are real and verified for real.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from meshca.pki import certificates, chain
from meshca.pki.bundle import Bundle
from meshca.planning.authority import Authority
from meshca.planning.ca import CAPlan, Census, ImportedPair, Publication, Straggler
from tests.fakes import pki
from tests.fakes.caworld import World

if TYPE_CHECKING:
    from cryptography import x509

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MOST_STEPS = 120
STEPS_A_DAY = 400
SPEC: dict[str, Any] = {
    "trustDomain": "example.org",
    "root": {"ttl": "8760h"},
    "intermediate": {"ttl": "1000h"},
    "leaf": {"ttl": "240h"},
}


@dataclass
class Leaf:
    """One holder's certificate: what is served after it, and what its holder does next."""

    name: str
    automatic: bool
    root: str = ""
    served: tuple[x509.Certificate, ...] = ()
    not_after: datetime = pki.NOW
    renew_at: datetime = pki.NOW
    move_at: datetime | None = None

    @property
    def next_event(self) -> datetime:
        return min(self.renew_at, self.move_at or self.renew_at)


@dataclass
class Peer:
    """Somebody who verifies, with the bundle that it holds and when it takes the next one."""

    bundle: Bundle = field(default_factory=Bundle)
    takes_at: datetime | None = None


@dataclass
class YearsWorld(World):
    """A world whose publication is what its peers really hold."""

    peers: dict[str, Peer] = field(default_factory=lambda: {f"ns-{n}": Peer() for n in range(3)})

    def _publication(self) -> Publication:
        behind = tuple(name for name, peer in self.peers.items() if peer.bundle.digest != self.published)
        read_back = bool(self.read_back) and self.read_back == self.published
        total = len(self.peers)
        return Publication(
            total, total - len(behind), behind, complete=True, digest=self.published, read_back=read_back
        )


@dataclass
class Habits:
    """How people and machines behave: seconds between wishes, the longest delay of a peer, what is asked."""

    waits: tuple[float, ...]
    lag: timedelta
    wishes: tuple[str, ...]
    leaves: int = 5


class Years:
    """The simulation; ``run`` goes on for a time and checks everything on the way."""

    def __init__(self, seed: int, habits: Habits) -> None:
        self.random = random.Random(seed)
        self.habits = habits
        self.world = YearsWorld(spec=SPEC)
        self.leaves = [Leaf(f"shop/leaf-{n}", automatic=n % 3 != 2) for n in range(habits.leaves)]
        self.steps: Counter[str] = Counter()
        self.per_day: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.imports = 1
        self.longest_chain = 0
        self._told = ""
        self._valid: dict[tuple[str, str], datetime] = {}
        self.plan = self.look()
        self.wish_at = self._next_wish()

    def run(self, until: datetime) -> None:
        """Go from event to event."""
        world = self.world
        while world.now < until:
            world.now = max(world.now, min(event for event in self.events() if event is not None))
            wished = world.now >= self.wish_at
            if wished:
                self.wish()
                self.wish_at = self._next_wish()
            # Until it is due, or something happens, what a plan says has to hold.
            late = self.plan.due is not None and world.now >= self.plan.due
            if self.peers_take() or self.others_act() or wished or late:
                self.plan = self.look()
            if self.renew():
                self.plan = self.look()

    def events(self) -> list[datetime | None]:
        """Return when something happens next."""
        events = [self.plan.due, self.wish_at, *(leaf.next_event for leaf in self.leaves)]
        return events + [peer.takes_at for peer in self.world.peers.values()]

    def others_act(self) -> bool:
        """Let others do what they do now, and tell whether the CA has to look at it; here there are none."""
        return False

    def rest(self, time: timedelta) -> None:
        """Go on without anybody asking for anything."""
        end = self.world.now + time
        self.wish_at = end
        self.habits = replace(self.habits, wishes=("nothing",))
        self.run(end)

    def look(self) -> CAPlan:
        """Do steps until there is none, as a reconciler does, and check after each."""
        world = self.world
        for _ in range(MOST_STEPS):
            self._observe()
            plan = world.plan()
            self.tell_peers(plan)
            self.check(plan)
            if plan.step is None:
                world.status, world.evidence = plan.status, ()
                self.check_settled(plan)
                return plan
            kind = type(plan.step).__name__
            self.steps[kind] += 1
            self.per_day[f"{world.now:%Y-%m-%d}"] += 1
            world.carry_out(plan)
        raise AssertionError(f"no end of steps: {world.done[-20:]}")

    def _observe(self) -> None:
        world = self.world
        live = [leaf for leaf in self.leaves if leaf.not_after > world.now]
        world.needed = {}
        for leaf in live:
            world.needed[leaf.root] = (*world.needed.get(leaf.root, ()), leaf.name)
        active = next((r for r in world.roots if r.meta.name == world.status.get("activeRoot")), None)
        left = [leaf for leaf in live if active is not None and leaf.root != active.facts.fingerprint]
        # The watch may know nothing yet: what throws away must not depend on it.
        blind = self.random.random() < 0.2
        left = [] if blind else sorted(left, key=lambda leaf: leaf.not_after)
        world.census = Census(
            by_root=Counter(leaf.root for leaf in left),
            stragglers=tuple(Straggler(leaf.name, leaf.not_after, leaf.automatic) for leaf in left),
            automatic=sum(leaf.automatic for leaf in left),
        )

    def tell_peers(self, plan: CAPlan) -> None:
        """Have peers take another bundle, each after a time of its own."""
        if plan.bundle.digest == self._told or not plan.publishes:
            return
        self._told = plan.bundle.digest
        for peer in self.world.peers.values():
            wait = self.random.random() * self.habits.lag if peer.bundle.roots else timedelta(0)
            peer.takes_at = peer.takes_at or self.world.now + wait
        self.peers_take(plan.bundle)

    def peers_take(self, bundle: Bundle | None = None) -> bool:
        took = False
        for peer in self.world.peers.values():
            if peer.takes_at is not None and peer.takes_at <= self.world.now:
                peer.bundle, peer.takes_at, took = bundle or self.plan.bundle, None, True
        return took

    def renew(self) -> bool:
        """Issue what is to be issued now; tell whether a leaf has moved."""
        authority, moved, now = self.plan.authority, False, self.world.now
        assert isinstance(authority, Authority), "nothing is issued"
        for leaf in self.leaves:
            if leaf.next_event <= now:
                moved |= leaf.root != authority.root
                self.issue(leaf, authority)
            elif leaf.root != authority.root and leaf.automatic and leaf.move_at is None:
                leaf.move_at = now + self.random.random() * 2 * HOUR
        return moved

    def issue(self, leaf: Leaf, authority: Authority) -> None:
        now = self.world.now
        ttl = authority.leaf_max_ttl * self.random.uniform(0.5, 1)
        assert (authority.signer_not_after - now) * 10 >= ttl, "the signer is about to end"
        leaf.root, leaf.move_at = authority.root, None
        leaf.served = tuple(certificates.load_all(authority.chain))
        leaf.not_after = min(now + ttl, authority.signer_not_after)
        leaf.renew_at = now + (leaf.not_after - now) * (2 / 3 if leaf.automatic else 1)
        self.longest_chain = max(self.longest_chain, len(leaf.served))
        self.seen["issued"] += 1

    def check(self, plan: CAPlan) -> None:
        """I1 to I5, as far as they show from outside, at this very moment."""
        world = self.world
        live = [root for root in world.roots if not root.pruned]
        assert len(live) <= 3, "too many live roots"
        keys = {secret.facts.fingerprint for secret in world.root_secrets if secret.facts}
        assert all(root.facts.fingerprint in keys for root in live), "I5: a key is lost"
        for leaf in self.leaves:
            if leaf.not_after > world.now:
                assert leaf.root in plan.bundle.fingerprints, "I3: out of the bundle while it is needed"
                self.check_leaf(leaf)
        if isinstance(plan.authority, Authority):
            present = {secret.meta.name for secret in world.signer_secrets}
            assert plan.authority.signer_secret in present, "I5: the signer in use is gone"
        self.check_nesting()

    def check_leaf(self, leaf: Leaf) -> None:
        signer, *crosses = leaf.served
        assert leaf.not_after <= signer.not_valid_after_utc, "I4: a leaf outlives its signer"
        for peer in self.world.peers.values():
            key = (certificates.to_pem(*leaf.served), peer.bundle.digest)
            if self._valid.get(key, self.world.now) <= self.world.now:
                path = chain.verify(signer, crosses, peer.bundle.roots, at=self.world.now)  # I2
                self._valid[key] = min(item.not_valid_after_utc for item in path)

    def check_nesting(self) -> None:
        world = self.world
        ends = {root.facts.subject_key_id: root.facts.not_after for root in world.roots}
        made = [(secret.certificate, "signer") for secret in world.signer_secrets]
        made += [(cross, "cross-certificate") for secret in world.root_secrets for cross in secret.cross]
        for certificate, what in made:
            assert certificate is not None
            end = ends.get(certificates.authority_key_id_of(certificate).hex())
            assert end is None or certificate.not_valid_after_utc <= end, f"I4: a {what} outlives its root"

    def check_settled(self, plan: CAPlan) -> None:
        """What holds whenever nothing is left to do."""
        world = self.world
        assert isinstance(plan.authority, Authority), "nothing is issued"
        active = [root for root in world.roots if root.status.get("state") == "Active"]
        assert [root.meta.name for root in active] == [world.status["activeRoot"]], "I1"
        assert plan.authority.root == active[0].facts.fingerprint
        assert len(world.signer_secrets) <= len(world.roots), "signers pile up"
        assert all(len(secret.cross) < 3 for secret in world.root_secrets), "227"
        assert self.per_day[f"{world.now:%Y-%m-%d}"] <= STEPS_A_DAY, "a busy loop"
        assert plan.due is None or plan.due > world.now
        turning = next(item for item in plan.status["conditions"] if item["type"] == "RotationInProgress")
        self.seen[turning["reason"]] += 1

    def _next_wish(self) -> datetime:
        wait = self.random.choice(self.habits.waits) * self.random.uniform(0.5, 1.5)
        return self.world.now + timedelta(seconds=max(1, int(wait)))

    def wish(self) -> None:
        """Have somebody ask for something."""
        kind = self.random.choice(self.habits.wishes)
        self.seen[kind] += 1
        world = self.world
        match kind:
            case "trigger":
                world.ask(str(self.seen[kind]))
            case "back":
                world.ask(str(max(0, self.seen["trigger"] - 1)))
            case "key":
                size = self.random.choice((256, 384, 521))
                world.spec = world.spec | {"privateKey": {"algorithm": "ECDSA", "size": size}}
            case "leaf":
                hours = self.random.choice((24, 120, 240, 300))
                world.spec = world.spec | {"leaf": {"ttl": f"{hours}h"}}
            case "import":
                self._import()
            case "generate":
                world.spec = {key: value for key, value in world.spec.items() if key != "provider"}
            case "delete":
                retired = [root for root in world.roots if root.retired and not root.meta.deleting]
                for root in retired[:1]:
                    world.change_root(root, meta=replace(root.meta, deleting=True))
            case "wipe":
                self._wipe()

    def _import(self) -> None:
        world = self.world
        self.imports += 1
        key = pki.key("ECDSA 256", f"imported {self.imports}")
        now = world.now.replace(microsecond=0)
        made = pki.imported_root(key, not_before=now - HOUR, not_after=now + 4000 * DAY)
        facts = certificates.facts(made)
        world.imported = ImportedPair(facts.fingerprint, facts.uris[0], "", facts.public_key_sha256)
        world.imported_root = made
        world.spec = world.spec | {"provider": {"type": "Builtin", "builtin": {"rootSecretName": "mine"}}}

    def _wipe(self) -> None:
        """Lose every status, as a restore from a backup does."""
        self.world.status = {}
        for root in list(self.world.roots):
            if not root.pruned:
                self.world.change_root(root, status={})
