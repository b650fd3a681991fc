"""A model of a secondary beside that of its primary: what its steps do, and what its link tells it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.pki import certificates, csr, issuance, keys
from meshca.pki.profile import SignerProfile
from meshca.pki.request import signer_request
from meshca.planning import steps
from meshca.planning.ca import Root
from meshca.planning.joining import Join
from meshca.planning.primary import Answer, PrimaryFacts, PrimaryRoot, PrimaryView, source_of
from meshca.planning.primaryfacts import read_crosses
from meshca.planning.requested import RequestedKey
from tests.fakes import pki
from tests.fakes.caworld import MOST_STEPS, World, _key_of, bootstrapped, key_secret
from tests.fakes.planning import meta

if TYPE_CHECKING:
    from datetime import timedelta

    from cryptography import x509

    from meshca.pki.keys import PrivateKey
    from meshca.planning.ca import CAPlan, CASnapshot
    from meshca.planning.situation import Problem

JSON = dict[str, Any]
UID = "22222222-3333-4444-8555-666666666666"
JOIN = Join(
    meta=meta("join", "meshca-system", uid="j"),
    server="https://primary.example.org",
    authority="CA",
    token="t",
    namespace="meshca-fed-west",
    account="meshca",
)
_MADE: dict[str, PrivateKey] = {}


@cache
def _key(number: int) -> PrivateKey:
    return pki.key("ECDSA 256", f"asked {number}")


def spec_of(primary: World, **more: Any) -> JSON:
    """Return the spec of a secondary of this primary."""
    ref = {"kubeconfigSecretName": "join", "bundleDigest": primary.status["bundle"]["digest"]}
    return {"clusterName": "west", "federation": {"primary": ref}} | more


@dataclass
class Secondary(World):
    """A secondary; ``look`` brings its view up to date, ``sign`` answers its request."""

    primary: World = field(default_factory=bootstrapped)
    uid: str = UID
    join: Join | None = JOIN
    join_problem: str = ""
    unkept_token: str | None = None
    view: PrimaryView | None = None
    accept_sequence: str = ""
    requested: list[RequestedKey] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    told: JSON = field(default_factory=dict)
    """Fields of the view that are not the primary's facts."""
    made: int = 0
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(100))
    """Of keys that are made here: others than the primary's."""

    def __post_init__(self) -> None:
        if self.spec == {"trustDomain": "example.org"}:
            self.spec = spec_of(self.primary)

    def snapshot(self) -> CASnapshot:
        found = super().snapshot()
        return replace(
            found,
            requested=tuple(self.requested),
            join=self.join,
            join_problem=self.join_problem,
            unkept_token=self.unkept_token,
            view=self.view,
            accept_sequence=self.accept_sequence,
        )

    def facts(self) -> PrimaryFacts:
        """Return what the primary shows now."""
        status, primary = self.primary.status, self.primary
        listed = {root.facts.fingerprint: root for root in primary.roots if not root.pruned}
        roots = tuple(
            PrimaryRoot(
                name,
                listed[name].certificate,
                str(listed[name].status.get("state", "")),
                read_crosses(listed[name].status.get("crossCertificates")),
            )
            for name in status["bundle"]["roots"]
        )
        active = primary.active
        return PrimaryFacts(
            uid=primary.uid,
            trust_domain=status["trustDomain"],
            active_root=active.facts.fingerprint if active.status.get("state") == "Active" else "",
            digest=status["bundle"]["digest"],
            sequence=status["bundle"]["sequence"],
            roots=roots,
        )

    def look(self, trouble: Problem | None = None, **changes: Any) -> None:
        """Have the link tell what the primary shows; or, in trouble, what it showed before."""
        assert self.join is not None
        facts = self.view.facts if trouble is not None and self.view is not None else None
        shown = None if trouble is not None else self.facts()
        self.view = replace(
            PrimaryView(
                source=source_of(self.join, "default", "west"),
                trouble=trouble,
                facts=facts or shown,
                answers=tuple(self.answers.values()),
                registered=True,
            ),
            **(self.told | changes),
        )

    def sign(self, *, root: Root | None = None, ttl: timedelta = 90 * pki.DAY) -> x509.Certificate:
        """Have the primary sign the request in flight under its active root, or another one."""
        issuer, asked = root or self.primary.active, self.requested[0]
        signer = issuance.signer_certificate(
            csr.parse(asked.request, keys=keys.CA_KEYS).public_key,
            issuer_cert=issuer.certificate,
            issuer_key=_key_of(issuer.certificate),
            trust_domain=pki.TRUST_DOMAIN,
            configuration="default",
            cluster_name="west",
            profile=SignerProfile(ttl),
            now=self.now,
        )
        self.answer("Issued", chain=certificates.to_pem(signer))
        return signer

    def answer(self, reason: str, message: str = "no", chain: str = "") -> None:
        """Have the primary say something about the request in flight."""
        name = names.intermediate("west", self.requested[0].subject_key_id)
        self.answers[name] = Answer(name, reason, message, chain)

    def follow(self) -> CAPlan:
        """Look, and have each request signed, until nothing is left to do."""
        for _ in range(MOST_STEPS):
            self.look()
            plan = self.settle()
            if not self.requested:
                return plan
            self.sign()
        raise AssertionError(self.done)

    def pass_time(self, span: timedelta) -> None:
        """Let time go by in both clusters."""
        self.now += span
        self.primary.now = self.now

    def _apply(self, step: object, plan: CAPlan) -> None:
        match step:
            case steps.RecordMirror():
                self._mirror(step)
            case steps.RequestSigner():
                self._request(plan)
            case steps.AdoptSigner():
                self._adopt(step)
            case steps.DropRequest():
                self.requested = [item for item in self.requested if item is not step.requested]
            case steps.RenewJoin():
                assert self.join is step.join
                self.join = replace(step.join, token=step.token.text)
            case _:
                super()._apply(step, plan)

    def _mirror(self, step: steps.RecordMirror) -> None:
        name = names.ca_root("default", step.fingerprint)
        assert name not in {root.meta.name for root in self.roots}, "mirrored twice"
        self.roots.append(
            Root(
                meta=meta(name, "", uid=f"uid-{name}"),
                certificate=step.certificate,
                facts=certificates.facts(step.certificate),
                pem=certificates.to_pem(step.certificate),
                source="Mirrored",
                key_secret="",
                base="",
                renewal=0,
                activated_at=None,
                rotated_out_at=None,
                prunable_after=None,
                largest_leaf_ttl=None,
                published_at=self.now.replace(microsecond=0),
                finalizers=(names.FINALIZER,),
            )
        )

    def _request(self, plan: CAPlan) -> None:
        assert plan.desired is not None
        self.made += 1
        key = _key(self.made) if str(plan.desired.key) == "ECDSA 256" else keys.generate(plan.desired.key)
        public = key.public_key()
        skid = keys.subject_key_id(public).hex()
        name = names.signer_secret("default", skid)
        text = signer_request(key, trust_domain=plan.trust_domain, name="default west")
        at = meta(name, "meshca-system", uid=f"uid-{name}", version="1", created=self.now)
        self.requested.append(RequestedKey(at, text, public, skid))

    def _adopt(self, step: steps.AdoptSigner) -> None:
        self.requested.remove(step.requested)
        name = step.requested.meta.name
        self.signer_secrets.append(key_secret(step.certificate, name, "2", chain=step.chain))


def following(**changes: Any) -> Secondary:
    """Return a secondary that follows its primary and has nothing left to do."""
    found = Secondary(**changes)
    found.follow()
    found.done.clear()
    return found


def reason(world: Secondary, kind: str) -> tuple[str, str]:
    state, found, _ = world.condition(kind)
    return state, found


def rotate(world: Secondary, trigger: str = "one") -> None:
    """Have the primary rotate up to the end."""
    world.primary.ask(trigger)
    world.primary.settle()


def publish(world: Secondary) -> None:
    """Have the primary make a root and show it, and not get any further."""
    world.primary.ask("one")
    while "MarkPublished" not in world.primary.done:
        world.primary.step()
    world.primary.publication = replace(world.primary.publication, complete=False)
    world.primary.status = world.primary.plan().status


def another_primary() -> World:
    return bootstrapped(uid="99999999-2222-4333-8444-555555555555", numbers=itertools.count(200))
