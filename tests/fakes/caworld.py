"""A model of the world of one CAConfiguration: what its steps do, without an API server.

Says what the planner would observe after each step, so that tests can apply a plan until nothing is left
to do, at any moment, after any damage. Refuses a state that cannot occur.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import singledispatchmethod
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.api.v1alpha1.caconfiguration import CAConfigurationSpec
from meshca.errors import InvalidError
from meshca.pki import certificates, issuance
from meshca.pki.profile import SignerProfile
from meshca.planning import steps
from meshca.planning.ca import (
    CAPlan,
    CASnapshot,
    Census,
    Evidence,
    ImportedPair,
    KeySecret,
    Publication,
    Root,
)
from meshca.planning.configuration import plan_configuration
from meshca.planning.desired import Desired, resolve
from tests.fakes import pki
from tests.fakes.pki import NOW
from tests.fakes.planning import IN_FORCE, meta

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509

    from meshca.planning.authority import Admission
    from meshca.planning.secondaries import Secondary
    from meshca.planning.steps import Step

JSON = dict[str, Any]
MOST_STEPS = 40
EVERYWHERE = Publication(total=3, current=3, complete=True)


def key_secret(certificate: x509.Certificate, name: str, version: str = "1", **more: Any) -> KeySecret:
    """Return a readable CA Secret."""
    facts = certificates.facts(certificate)
    found = meta(name, "meshca-system", uid=f"uid-{name}", version=version)
    return KeySecret(found, certificate, facts, problem="", **more)


def broken(secret: KeySecret, problem: str = "entry 'tls.key' is missing") -> KeySecret:
    return replace(secret, problem=problem)


@dataclass
class World:
    """Everything that a CASnapshot is made of; ``apply`` does what the engine would."""

    now: datetime = NOW
    spec: JSON = field(default_factory=lambda: {"trustDomain": "example.org"})
    uid: str = "11111111-2222-4333-8444-555555555555"
    generation: int = 1
    deleting: bool = False
    status: JSON = field(default_factory=dict)
    accepted: JSON | None = None
    roots: list[Root] = field(default_factory=list)
    root_secrets: list[KeySecret] = field(default_factory=list)
    signer_secrets: list[KeySecret] = field(default_factory=list)
    imported: ImportedPair | None = None
    imported_root: x509.Certificate | None = None
    admission: Admission = IN_FORCE
    trust_domain_owner: str = ""
    bundle_owner: str = ""
    publication: Publication = EVERYWHERE
    provider_problem: str = ""
    census: Census = field(default_factory=Census)
    needed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Who needs a root, by its fingerprint, as a consistent list would tell."""
    evidence: tuple[Evidence, ...] = ()
    cross_signers: frozenset[str] = frozenset({"Builtin"})
    cross_problems: dict[tuple[str, str], str] = field(default_factory=dict)
    delete_keys: bool = False
    held: bool = False
    clocks_differ: bool = False
    secondaries: tuple[Secondary, ...] = ()
    read_back: str = ""
    published: str = ""
    versions: itertools.count[int] = field(default_factory=lambda: itertools.count(1000))
    done: list[str] = field(default_factory=list)
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def snapshot(self) -> CASnapshot:
        wish, problem = self._read(self.spec)
        accepted = self._read(self.accepted)[0] if self.accepted is not None else None
        found = CASnapshot(
            now=self.now,
            meta=meta("default", "", uid=self.uid, generation=self.generation, deleting=self.deleting),
            status=self.status,
            wish=wish,
            wish_problem=problem,
            accepted=accepted,
            accepted_is_current=accepted is not None and self.accepted == self.spec,
            roots=tuple(self.roots),
            root_secrets=tuple(self.root_secrets),
            signer_secrets=tuple(self.signer_secrets),
            imported=self.imported,
            admission=self.admission,
            trust_domain_owner=self.trust_domain_owner,
            bundle_owner=self.bundle_owner,
            publication=self._publication(),
            provider_problem=self.provider_problem,
            census=self.census,
            evidence=self.evidence,
            cross_signers=self.cross_signers,
            cross_problems=self.cross_problems,
            delete_keys=self.delete_keys,
            held=self.held,
            clocks_differ=self.clocks_differ,
            secondaries=self.secondaries,
        )
        check(found)
        return found

    def _publication(self) -> Publication:
        """Return how publication stands, of whatever bundle was wanted last."""
        read_back = bool(self.read_back) and self.read_back == self.published
        return replace(self.publication, digest=self.published, read_back=read_back)

    def plan(self) -> CAPlan:
        plan = plan_configuration(self.snapshot())
        if plan.publishes and plan.bundle.digest != self.published:
            self.published = plan.bundle.digest
            plan = plan_configuration(self.snapshot())
        return plan

    def step(self) -> Step | None:
        """Do the next step and return it."""
        plan = self.plan()
        if plan.step is not None:
            self.carry_out(plan)
        return plan.step

    def carry_out(self, plan: CAPlan) -> None:
        """Do what a plan asks for."""
        self.done.append(type(plan.step).__name__)
        self._apply(plan.step, plan)

    def settle(self) -> CAPlan:
        """Do steps until there is none, then write the status."""
        for _ in range(MOST_STEPS):
            if self.step() is None:
                plan = self.plan()
                self.status = plan.status
                self.evidence = ()
                return plan
        raise AssertionError(f"does not converge: {self.done}")

    def ask(self, trigger: str, **rotation: Any) -> None:
        """Change ``spec.rotation``, as a person who wants another root does."""
        self.spec = self.spec | {"rotation": {"trigger": trigger} | rotation}
        self.generation += 1

    @property
    def active(self) -> Root:
        """Return the root that the status names."""
        return next(root for root in self.roots if root.meta.name == self.status["activeRoot"])

    @property
    def active_name(self) -> str:
        return self.active.meta.name

    def root(self, name: str) -> Root:
        return next(root for root in self.roots if root.meta.name == name)

    def condition(self, kind: str) -> tuple[str, str, str]:
        """Return status, reason and message of a condition as the present plan wants it."""
        for entry in self.plan().status["conditions"]:
            if entry["type"] == kind:
                return entry["status"], entry["reason"], entry["message"]
        raise AssertionError(kind)

    def _read(self, spec: JSON) -> tuple[Desired | None, str]:
        try:
            return resolve("default", CAConfigurationSpec.read(spec, at="spec")), ""
        except InvalidError as error:
            return None, error.message

    @singledispatchmethod
    def _apply(self, step: object, plan: CAPlan) -> None:
        raise AssertionError(step, plan)

    @_apply.register
    def _settle_trust_domain(self, step: steps.SettleTrustDomain, _: CAPlan) -> None:
        self.status = self.status | {"trustDomain": step.name}

    @_apply.register
    def _accept(self, _step: steps.AcceptSpec, _: CAPlan) -> None:
        self.accepted = self.spec

    @_apply.register
    def _make_root(self, step: steps.MakeRoot, plan: CAPlan) -> None:
        assert plan.desired is not None
        assert all(secret.meta.name != step.secret for secret in self.root_secrets), "made twice"
        certificate = self.imported_root if step.imported else None
        if certificate is None:
            key = pki.key("ECDSA 256", f"world root {next(self.numbers)}")
            ttl, domain = plan.desired.root_ttl, plan.trust_domain
            certificate = pki.make_root(key, ttl=ttl, now=self.now, trust_domain=domain)
            _KEYS[certificates.facts(certificate).public_key_sha256] = key
        cross = tuple(certificates.load_all(step.cross)) if step.cross else ()
        more: dict[str, Any] = {"identity": step.identity, "base": step.base, "renewal": step.renewal}
        self.root_secrets.append(key_secret(certificate, step.secret, **more, cross=cross))

    @_apply.register
    def _record_root(self, step: steps.RecordRoot, _: CAPlan) -> None:
        secret = step.secret
        assert secret.certificate is not None
        assert secret.facts is not None
        self.roots.append(
            Root(
                meta=meta(names.ca_root("default", secret.facts.fingerprint), "", uid="r"),
                certificate=secret.certificate,
                facts=secret.facts,
                pem=certificates.to_pem(secret.certificate),
                source="Imported" if step.imported else "Generated",
                key_secret=secret.meta.name,
                base=secret.base,
                renewal=secret.renewal,
                activated_at=None,
                rotated_out_at=None,
                prunable_after=None,
                largest_leaf_ttl=None,
                finalizers=(names.FINALIZER,),
            )
        )

    def change_root(self, root: Root, **changes: Any) -> None:
        self.roots[[item.meta.name for item in self.roots].index(root.meta.name)] = replace(root, **changes)

    @_apply.register
    def _raise_leaf_ttl(self, step: steps.RaiseLeafTTL, _: CAPlan) -> None:
        self.change_root(step.root, largest_leaf_ttl=step.ttl)

    @_apply.register
    def _mark_active(self, step: steps.MarkActive, plan: CAPlan) -> None:
        trigger = plan.desired.trigger if plan.desired is not None else ""
        moment = self.now.replace(microsecond=0)
        self.change_root(step.root, activated_at=moment, rotated_out_at=None, trigger=trigger)

    @_apply.register
    def _commit_active(self, step: steps.CommitActive, _: CAPlan) -> None:
        self.status = self.status | {"activeRoot": step.root.meta.name}

    @_apply.register
    def _write_root_status(self, step: steps.WriteRootStatus, _: CAPlan) -> None:
        self.change_root(step.root, status=step.status)

    @_apply.register
    def _make_signer(self, step: steps.MakeSigner, plan: CAPlan) -> None:
        assert plan.desired is not None
        issuer_key = _key_of(step.root.certificate)
        key = pki.key("ECDSA 256", f"world signer {next(self.numbers)}")
        signer = issuance.signer_certificate(
            key.public_key(),
            issuer_cert=step.root.certificate,
            issuer_key=issuer_key,
            trust_domain=plan.trust_domain,
            configuration="default",
            cluster_name="default",
            profile=SignerProfile(plan.desired.intermediate_ttl),
            now=self.now,
        )
        name = names.signer_secret("default", certificates.facts(signer).subject_key_id)
        text = certificates.to_pem(signer) + step.chain
        self.signer_secrets.append(key_secret(signer, name, chain=text))

    @_apply.register
    def _remove_signer(self, step: steps.RemoveSigner, _: CAPlan) -> None:
        self.signer_secrets = [item for item in self.signer_secrets if item.meta != step.secret.meta]

    @_apply.register
    def _record_phase(self, _step: steps.RecordPhase, plan: CAPlan) -> None:
        self.status = plan.status

    @_apply.register
    def _read_back(self, _step: steps.ReadBack, plan: CAPlan) -> None:
        self.read_back = plan.bundle.digest

    @_apply.register
    def _gather(self, step: steps.GatherEvidence, _: CAPlan) -> None:
        fingerprint = step.root.facts.fingerprint
        names_ = self.needed.get(fingerprint, ())
        self.evidence += (Evidence(fingerprint, names_[:10], len(names_)),)

    @_apply.register
    def _cross_sign(self, step: steps.CrossSign, _: CAPlan) -> None:
        cross = issuance.cross_certificate(
            step.root.certificate,
            issuer_cert=step.issuer.certificate,
            issuer_key=_key_of(step.issuer.certificate),
            now=self.now,
        )
        self.change_secret(step.secret, cross=(*step.secret.cross, cross))

    @_apply.register
    def _keep_cross(self, step: steps.KeepCross, _: CAPlan) -> None:
        kept = tuple(certificates.load_all(step.pem)) if step.pem else ()
        self.change_secret(step.secret, cross=kept)

    @_apply.register
    def _touch(self, step: steps.TouchSecret, _: CAPlan) -> None:
        self.change_secret(step.secret, touched=step.mark)

    def change_secret(self, secret: KeySecret, **changes: Any) -> None:
        """Write to a CA Secret that is as it was observed."""
        for place in (self.root_secrets, self.signer_secrets):
            for number, item in enumerate(place):
                if item.meta.name == secret.meta.name:
                    assert item.meta == secret.meta, "a stale write"
                    version = str(next(self.versions))
                    place[number] = replace(
                        item, meta=replace(item.meta, resource_version=version), **changes
                    )
                    return
        raise AssertionError(secret.meta.name)

    @_apply.register
    def _write_chain(self, step: steps.WriteChain, _: CAPlan) -> None:
        self.change_secret(step.secret, chain=step.chain)

    @_apply.register
    def _mark_published(self, step: steps.MarkPublished, _: CAPlan) -> None:
        moment = self.now.replace(microsecond=0)
        if step.root.rotated_out_at is not None:
            moment = max(moment, step.root.rotated_out_at + timedelta(seconds=1))
        self.change_root(step.root, published_at=moment)

    @_apply.register
    def _mark_rotated_out(self, step: steps.MarkRotatedOut, _: CAPlan) -> None:
        moment = self.now.replace(microsecond=0)
        self.change_root(step.root, rotated_out_at=moment, prunable_after=step.prunable_after, prune_now="")

    @_apply.register
    def _mark_in_force(self, step: steps.MarkInForce, _: CAPlan) -> None:
        self.change_root(step.root, rotated_out_at=None)

    @_apply.register
    def _mark_pruned(self, step: steps.MarkPruned, _: CAPlan) -> None:
        self.change_root(step.root, status=step.status)

    @_apply.register
    def _remove_root_secret(self, step: steps.RemoveRootSecret, _: CAPlan) -> None:
        self.root_secrets = [item for item in self.root_secrets if item.meta != step.secret.meta]

    @_apply.register
    def _delete_root(self, step: steps.DeleteRoot, _: CAPlan) -> None:
        self.change_root(step.root, meta=replace(step.root.meta, deleting=True))

    @_apply.register
    def _release_root(self, step: steps.ReleaseRoot, _: CAPlan) -> None:
        self.roots = [item for item in self.roots if item.meta.name != step.root.meta.name]

    @_apply.register
    def _hold(self, step: steps.HoldConfiguration, _: CAPlan) -> None:
        self.held = step.held


_KEYS: dict[str, Any] = {}


def _key_of(certificate: x509.Certificate) -> Any:
    """Return the key of a root that was made here, or of one called ``imported…``."""
    wanted = certificates.facts(certificate).public_key_sha256
    if wanted not in _KEYS:
        names_ = ("imported", *(f"imported {n}" for n in range(2, 100)))
        found = (pki.key("ECDSA 256", name) for name in names_)
        _KEYS[wanted] = next(key for key in found if key.public_key() == certificate.public_key())
    return _KEYS[wanted]


def bootstrapped(**changes: Any) -> World:
    """Return a world that is ready."""
    world = World(**changes)
    world.settle()
    world.done.clear()
    return world


def check(found: CASnapshot) -> None:
    """Fail on a state that the API server never shows."""
    for objects in (found.roots, found.root_secrets, found.signer_secrets):
        present = [item.meta.name for item in objects]
        assert len(present) == len(set(present)), "two objects of one name"
    for root in found.roots:
        assert root.facts == certificates.facts(root.certificate), "facts of another certificate"
        assert root.activated_at or not root.rotated_out_at, "rotated out, never active"
        assert root.prunable_after or not root.rotated_out_at, "rotated out, kept for no time"
    for secret in (*found.root_secrets, *found.signer_secrets):
        assert (secret.certificate is None) == (secret.facts is None), "facts without certificate"
        assert secret.problem or secret.certificate is not None, "usable without certificate"
    assert (found.wish is None) == bool(found.wish_problem), "neither wish nor problem"
    assert not found.accepted_is_current or found.accepted is not None, "nothing accepted is current"
    assert found.admission.in_force == (found.admission.since is not None), "in force since never"
    assert not found.imported or found.imported.problem or found.imported.fingerprint, "imported nothing"
