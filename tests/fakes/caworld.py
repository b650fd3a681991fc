"""A model of the world of one CAConfiguration: what its steps do, without an API server.

Says what the planner would observe after each step, so that tests can apply a plan until nothing is left
to do, at any moment, after any damage. Refuses a state that cannot occur.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from functools import singledispatchmethod
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.api.v1alpha1.caconfiguration import CAConfigurationSpec
from meshca.errors import InvalidError
from meshca.pki import certificates, issuance
from meshca.pki.profile import SignerProfile
from meshca.planning import ca
from meshca.planning.ca import CAPlan, CASnapshot, ImportedPair, KeySecret, Publication, Root
from meshca.planning.configuration import plan_configuration
from meshca.planning.desired import Desired, resolve
from tests.fakes import pki
from tests.fakes.pki import NOW
from tests.fakes.planning import IN_FORCE, meta

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509

    from meshca.planning.authority import Admission
    from meshca.planning.ca import Step

JSON = dict[str, Any]
MOST_STEPS = 24
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
            publication=self.publication,
            provider_problem=self.provider_problem,
        )
        check(found)
        return found

    def plan(self) -> CAPlan:
        return plan_configuration(self.snapshot())

    def step(self) -> Step | None:
        """Do the next step and return it."""
        plan = self.plan()
        if plan.step is not None:
            self.done.append(type(plan.step).__name__)
            self._apply(plan.step, plan)
        return plan.step

    def settle(self) -> CAPlan:
        """Do steps until there is none, then write the status."""
        for _ in range(MOST_STEPS):
            if self.step() is None:
                plan = self.plan()
                self.status = plan.status
                return plan
        raise AssertionError(f"does not converge: {self.done}")

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
    def _settle_trust_domain(self, step: ca.SettleTrustDomain, _: CAPlan) -> None:
        self.status = self.status | {"trustDomain": step.name}

    @_apply.register
    def _accept(self, _step: ca.AcceptSpec, _: CAPlan) -> None:
        self.accepted = self.spec

    @_apply.register
    def _make_root(self, step: ca.MakeRoot, plan: CAPlan) -> None:
        assert plan.desired is not None
        assert all(secret.meta.name != step.secret for secret in self.root_secrets), "made twice"
        certificate = self.imported_root if step.imported else None
        if certificate is None:
            key = pki.key("ECDSA 256", f"world root {next(self.numbers)}")
            ttl, domain = plan.desired.root_ttl, plan.trust_domain
            certificate = pki.make_root(key, ttl=ttl, now=self.now, trust_domain=domain)
        self.root_secrets.append(
            key_secret(certificate, step.secret, identity=step.identity, base=step.base, renewal=step.renewal)
        )

    @_apply.register
    def _record_root(self, step: ca.RecordRoot, _: CAPlan) -> None:
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
            )
        )

    def change_root(self, root: Root, **changes: Any) -> None:
        self.roots[[item.meta.name for item in self.roots].index(root.meta.name)] = replace(root, **changes)

    @_apply.register
    def _raise_leaf_ttl(self, step: ca.RaiseLeafTTL, _: CAPlan) -> None:
        self.change_root(step.root, largest_leaf_ttl=step.ttl)

    @_apply.register
    def _mark_active(self, step: ca.MarkActive, _: CAPlan) -> None:
        self.change_root(step.root, activated_at=self.now.replace(microsecond=0))

    @_apply.register
    def _commit_active(self, step: ca.CommitActive, _: CAPlan) -> None:
        self.status = self.status | {"activeRoot": step.root.meta.name}

    @_apply.register
    def _write_root_status(self, step: ca.WriteRootStatus, _: CAPlan) -> None:
        self.change_root(step.root, status=step.status)

    @_apply.register
    def _make_signer(self, step: ca.MakeSigner, plan: CAPlan) -> None:
        assert plan.desired is not None
        issuer_key = next(
            pki.key("ECDSA 256", name)
            for name in (*(f"world root {n}" for n in range(50)), "imported")
            if pki.key("ECDSA 256", name).public_key() == step.root.certificate.public_key()
        )
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
        self.signer_secrets.append(key_secret(signer, name))

    @_apply.register
    def _remove_signer(self, step: ca.RemoveSigner, _: CAPlan) -> None:
        self.signer_secrets = [item for item in self.signer_secrets if item.meta != step.secret.meta]


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
    for secret in (*found.root_secrets, *found.signer_secrets):
        assert (secret.certificate is None) == (secret.facts is None), "facts without certificate"
        assert secret.problem or secret.certificate is not None, "usable without certificate"
    assert (found.wish is None) == bool(found.wish_problem), "neither wish nor problem"
    assert not found.accepted_is_current or found.accepted is not None, "nothing accepted is current"
    assert found.admission.in_force == (found.admission.since is not None), "in force since never"
    assert not found.imported or found.imported.problem or found.imported.fingerprint, "imported nothing"
