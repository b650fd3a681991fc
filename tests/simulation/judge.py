"""Holds the invariants of one cluster against every change of its API server, and nothing but that.

Decides from objects as they are stored and from who wrote them; never from an operator's memory. A finding
begins with the invariant's number. What people do against the rules is no finding: only the operator's own
writes are judged, and what follows from them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography import x509

from meshca.api import names
from meshca.errors import InvalidError
from meshca.pki import certificates, chain
from tests.fakes.engine import OPERATOR
from tests.simulation.evidence import Held, Served, bundle_text, dns_names, state_of, status_of
from tests.simulation.keyjudge import KeyJudge
from tests.simulation.places import owes

if TYPE_CHECKING:
    from tests.fakes.apiserver.server import ApiServer
    from tests.fakes.apiserver.store import Change
    from tests.simulation.meshjudge import MeshJudge

JSON = dict[str, Any]
PEER_LAG = timedelta(seconds=90)
"""How long after a bundle was replaced some peer may still hold it."""
HOLDER_LAG = timedelta(seconds=90)
"""How long after a leaf was replaced its holder may still present it."""
MOST_LIVE_ROOTS = 3
TRUST_DOMAIN = "example.org"


@dataclass
class Judge:
    """What was found wrong, and what is known of the cluster as seen from outside."""

    server: ApiServer
    now: Any
    """Returns the world's time, which no step of a clock moves."""
    configuration: str = "default"
    bundle_name: str = "meshca-trust-bundle"
    found: list[str] = field(default_factory=list)
    bundles: list[Held] = field(default_factory=list)
    leaves: list[Served] = field(default_factory=list)
    forced: set[str] = field(default_factory=set)
    """Roots (by name) that somebody pruned by force, whoever needed them."""
    given_up: set[str] = field(default_factory=set)
    """Namespaces that have refused their bundle for long, and have not got it since."""
    left: set[str] = field(default_factory=set)
    """Namespaces that were owed no bundle for a while, and have none that counts again yet."""
    writes: Counter[str] = field(default_factory=Counter)
    issues: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    mesh: MeshJudge | None = None
    """Who judges what this cluster has to do with others."""
    follows: bool = False
    """Whether its roots are another cluster's, so that how many there are is not its own to decide."""

    def __post_init__(self) -> None:
        self._sound: dict[tuple[str, str], datetime] = {}
        self._shown: dict[tuple[str, str], str] = {}
        self._active = ""
        self._keys = KeyJudge(self.server, self.configuration, self.say, self._nested)
        self._spec: JSON = {}
        self.server.store.listeners.append(self._heard)

    # --- what happened ---------------------------------------------------------------------------

    def _heard(self, change: Change) -> None:
        ours = change.actor == OPERATOR
        if ours and change.resource != names.LEASE:
            self.writes[change.resource.kind] += 1
        if change.resource != names.SECRET and ours:
            self._keys.no_key_in(change.item)
        if change.resource == names.CA_CONFIGURATION:
            self._configuration(change, ours=ours)
        elif change.resource == names.CA_ROOT:
            self._root(change, ours=ours)
        elif change.resource in {names.CONFIG_MAP, names.CLUSTER_TRUST_BUNDLE}:
            self._bundle(change, ours=ours)
        elif change.resource == names.LEAF:
            self._leaf(change, ours=ours)
        elif change.resource == names.SECRET and ours:
            self._keys.secret(change)
        if change.resource in {names.NAMESPACE, names.CA_CONFIGURATION, names.LEAF}:
            self._leave()

    def say(self, text: str) -> None:
        """Keep a finding, once."""
        if text not in self.found:
            self.found.append(text)

    def _configuration(self, change: Change, *, ours: bool) -> None:
        before = ((change.before or {}).get("status") or {}).get("activeRoot", "")
        after = (change.item.get("status") or {}).get("activeRoot", "")
        if change.type == "DELETED" or not ours:
            return
        if before and not after:
            self.say(f"I1: the operator took activeRoot {before!r} away")
        if after and after != before:
            self._activated(after)

    def _activated(self, name: str) -> None:
        root = self.server.find(names.CA_ROOT, name)
        if root is None or state_of(root) == "Pruned":
            self.say(f"I1: active root {name!r} is gone or pruned")
            return
        notes = root["metadata"].get("annotations") or {}
        if names.ANNOTATION_ACTIVATED_AT not in notes:
            self.say(f"I1: active root {name!r} is not marked as active")
        if self.mesh is not None:
            self.mesh.activated(self, root, self._active)
        self._active = name

    def _root(self, change: Change, *, ours: bool) -> None:
        if not ours:
            return
        live = [item for item in self.server.store.items(names.CA_ROOT) if state_of(item) != "Pruned"]
        if len(live) > MOST_LIVE_ROOTS and not self.follows:
            self.say(f"I1: {len(live)} live roots")
        name = change.item["metadata"]["name"]
        if change.type == "ADDED":
            self._nested(certificates.load_one(change.item["spec"]["certificate"]), f"CARoot {name!r}")
        if state_of(change.item) == "Pruned" and state_of(change.before or {}) != "Pruned":
            self._pruned(name, change.item)

    def _pruned(self, name: str, root: JSON) -> None:
        active = status_of(self.server, self.configuration).get("activeRoot")
        if name == active:
            self.say(f"I1: the active root {name!r} was pruned")
        forced = names.ANNOTATION_PRUNE_NOW in (root["metadata"].get("annotations") or {})
        if self.mesh is not None:
            self.mesh.pruned(self, root, forced=forced)
        if forced:
            self.forced.add(name)
            return
        certificate = certificates.load_one(root["spec"]["certificate"])
        for served in self.live():
            if served.needs(certificate):
                self.say(f"I3: root {name!r} was pruned while {served.place} needs it")

    def _bundle(self, change: Change, *, ours: bool) -> None:
        place = (change.item["metadata"].get("namespace", ""), change.item["metadata"]["name"])
        if not self._is_bundle(place):
            return
        before = next((held for held in self.bundles if held.place == place and held.until is None), None)
        if before is not None:
            before.until = self.now()
        if change.type == "DELETED":
            if ours:
                self.say(f"I3: the operator deleted bundle {place}")
            return
        if not ours:
            return
        text = bundle_text(change.item)
        held = Held(place, tuple(certificates.load_all(text)), text)
        self.bundles.append(held)
        if self._counts_again(place[0]):
            self.bundles = [other for other in self.bundles if other.place != place or other is held]
        if before is not None:
            self._nothing_needed_left(before, held)
        for served in self.live():
            self._verify(served, held)
        if self.mesh is not None:
            self.mesh.published(self, held)

    def _counts_again(self, place: str) -> bool:
        """Take back a namespace that has the bundle, and tell whether it did not count until now."""
        if place in self.left and not owes(self.server, self._spec, place, self.bundle_name):
            return False
        again = place in self.left or place in self.given_up
        self.left.discard(place)
        self.given_up.discard(place)
        return again

    def _leave(self) -> None:
        """Let bundles go that nobody is owed any more, because their namespace left and has no leaves."""
        self._spec = self.server.store.get(names.CA_CONFIGURATION, ("", self.configuration)) or self._spec
        for place in {held.place[0] for held in self.bundles} - self.left - {""}:
            if not owes(self.server, self._spec, place, self.bundle_name):
                self.left.add(place)

    def _come_back(self) -> None:
        """Let bundles count again that became owed again and are what others hold."""
        present = [held for held in self.bundles if held.until is None]
        texts = {held.text for held in present if held.place[0] not in self.left}
        for held in present:
            place = held.place[0]
            same = place in self.left and held.text in texts
            if same and owes(self.server, self._spec, place, self.bundle_name):
                self.left.discard(place)

    def restored(self) -> None:
        """Begin anew with what there is: who holds what came after the snapshot is owed nothing."""
        self.bundles = [
            Held(place, tuple(certificates.load_all(text)), text)
            for resource in (names.CONFIG_MAP, names.CLUSTER_TRUST_BUNDLE)
            for item in self.server.store.items(resource)
            if self._is_bundle(place := (item["metadata"].get("namespace", ""), item["metadata"]["name"]))
            if "BEGIN CERTIFICATE" in (text := bundle_text(item))
        ]
        self.leaves = [
            Served((item["metadata"]["namespace"], item["metadata"]["name"]), tuple(chain_), text)
            for item in self.server.store.items(names.LEAF)
            if (text := (item.get("status") or {}).get("certificateChain", ""))
            for chain_ in [certificates.load_all(text)]
        ]
        self._shown = {served.place: served.text for served in self.leaves}
        self._active = str(status_of(self.server, self.configuration).get("activeRoot", ""))
        self._leave()

    def _is_bundle(self, place: tuple[str, str]) -> bool:
        if place[0]:
            return place[1] == self.bundle_name
        return place[1] == names.cluster_trust_bundle(self.configuration)

    def _nothing_needed_left(self, before: Held, after: Held) -> None:
        for root in before.roots:
            if root in after.roots or self._was_forced(root):
                continue
            for served in self.live():
                if served.needs(root):
                    self.say(f"I3: a root that {served.place} needs left bundle {after.place}")

    def _was_forced(self, root: x509.Certificate) -> bool:
        return names.ca_root(self.configuration, certificates.fingerprint(root)) in self.forced

    def _leaf(self, change: Change, *, ours: bool) -> None:
        meta = change.item["metadata"]
        place = (meta["namespace"], meta["name"])
        text = (change.item.get("status") or {}).get("certificateChain", "")
        if change.type == "DELETED":
            self.leaves = [served for served in self.leaves if served.place != place]
            self._shown.pop(place, None)
            return
        # One that has expired is forgotten, and is issued no second time by being told of.
        same, self._shown[place] = self._shown.get(place) == text, text
        before = next((item for item in self.leaves if item.place == place and item.until is None), None)
        if same:
            return
        if not ours:
            if before is not None:
                before.until = self.now()
            return
        if not text:
            if before is not None and before.leaf.not_valid_after_utc > self.now():
                self.say(f"I2: the operator took the chain of {place} away")
            return
        if before is not None:
            before.until = self.now()
        served = Served(place, tuple(certificates.load_all(text)), text)
        self.issues[place] += 1
        self.leaves.append(served)
        self.forget()
        self._nested(served.leaf, f"leaf {place}", served.chain[1])
        self._named(change.item, served)
        for held in self.present_bundles():
            self._verify(served, held)
        if self.mesh is not None:
            self.mesh.issued(self, served)

    def _named(self, item: JSON, served: Served) -> None:
        """I9: a certificate has the name that the policy gives to its request, and its key."""
        meta, spec = item["metadata"], item["spec"]
        wanted = f"spiffe://{TRUST_DOMAIN}/ns/{meta['namespace']}/sa/{spec['serviceAccountName']}"
        found = (*certificates.uris_of(served.leaf), *sorted(dns_names(served.leaf)))
        if found != (wanted,):
            self.say(f"I9: {served.place} got {found}, may have {wanted}")
        if "request" in spec:
            asked = x509.load_pem_x509_csr(spec["request"].encode())
            if asked.public_key() != served.leaf.public_key():
                self.say(f"I9: {served.place} got a certificate for another key")

    # --- what must hold --------------------------------------------------------------------------

    def _nested(self, made: x509.Certificate, what: str, issuer: x509.Certificate | None = None) -> None:
        """I4: no certificate outlives its issuer."""
        if issuer is None:
            wanted = certificates.authority_key_id_of(made)
            roots = [
                certificates.load_one(item["spec"]["certificate"])
                for item in self.server.store.items(names.CA_ROOT)
            ]
            issuer = next((r for r in roots if certificates.subject_key_id_of(r) == wanted), None)
        if issuer is not None and made.not_valid_after_utc > issuer.not_valid_after_utc:
            self.say(f"I4: {what} outlives its issuer")

    def _verify(self, served: Served, held: Held) -> None:
        if why := self.refused(served, held):
            self.say(f"I2: {served.place} under bundle {held.place}: {why}")

    def refused(self, served: Served, held: Held) -> str:
        """Say why a peer that holds a bundle of this cluster does not accept a leaf of any, or ""."""
        if held.place[0] in self.left or (held.place[0] in self.given_up and self._is_forcing()):
            return ""
        pair, now = (served.text, held.text), self.now()
        if self._sound.get(pair, now - timedelta(1)) > now:
            return ""
        # Whoever prunes by force has accepted that those who know only that root are left alone.
        if self.forced and any(map(self._was_forced, held.roots)):
            return ""
        if any(served.needs(root) and self._was_forced(root) for root in self._ever()):
            return ""
        try:
            path = chain.verify(served.leaf, served.chain[1:], held.roots, at=now)
        except InvalidError as error:
            return error.message or "it does not verify"
        self._sound[pair] = min(item.not_valid_after_utc for item in path)
        return ""

    def _ever(self) -> tuple[x509.Certificate, ...]:
        return tuple({root: None for held in self.bundles for root in held.roots}) if self.forced else ()

    def everything(self) -> None:
        """Check what time alone may have broken."""
        self._come_back()
        for served in self.live():
            for held in self.present_bundles():
                self._verify(served, held)

    def _is_forcing(self) -> bool:
        """Tell whether somebody permits that who does not hold a new root is left behind."""
        body = self._spec if self.mesh is None else self.mesh.configuration()
        return bool((body.get("spec", {}).get("rotation") or {}).get("forceWithoutCrossSigning"))

    # --- what is known ---------------------------------------------------------------------------

    def live(self) -> list[Served]:
        """Return the chains that somebody may still present."""
        self.forget()
        return self.leaves

    def present_bundles(self) -> list[Held]:
        """Return the versions of bundles that a peer may hold, of namespaces that are there."""
        present = {item["metadata"]["name"] for item in self.server.store.items(names.NAMESPACE)}
        return [held for held in self.bundles if not held.place[0] or held.place[0] in present]

    def forget(self) -> None:
        """Drop what nobody can hold any more."""
        now = self.now()
        self.bundles = [b for b in self.bundles if b.until is None or b.until > now - PEER_LAG]
        self.leaves = [
            item
            for item in self.leaves
            if item.leaf.not_valid_after_utc > now and (item.until is None or item.until > now - HOLDER_LAG)
        ]
