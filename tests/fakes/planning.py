"""Small builders of what planners see, which refuse a state that cannot occur."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from meshca.api.v1alpha1.caconfiguration import CAConfigurationSpec
from meshca.api.v1alpha1.conditions import Reason
from meshca.pki import certificates, renewal
from meshca.planning import leaf as leaf_planning
from meshca.planning.authority import Admission, Authority, Unavailable
from meshca.planning.desired import Desired, resolve
from meshca.planning.leaf import LeafSnapshot, SecretView
from meshca.planning.views import IssuedFacts, LeafSpec, LeafView, Meta, chain_digest
from tests.fakes import pki
from tests.fakes.pki import NOW

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509

UID = "11111111-2222-4333-8444-555555555555"
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
IN_FORCE = Admission(in_force=True, since=NOW - 24 * HOUR)
OUT_OF_FORCE = Admission(in_force=False, since=None, message="the policy is missing; apply the chart's")
UNAVAILABLE = Unavailable(Reason.SIGNER_NOT_READY, "CAConfiguration 'default' is not ready: being made")


def meta(
    name: str = "web",
    namespace: str = "shop",
    *,
    uid: str = UID,
    version: str = "100",
    generation: int = 1,
    created: datetime | None = NOW,
    deleting: bool = False,
) -> Meta:
    return Meta(name, namespace, uid, version, generation, created, deleting)


def desired(name: str = "default", **spec: Any) -> Desired:
    """Resolve a spec given in the API's own words."""
    return resolve(name, CAConfigurationSpec.read({"trustDomain": "example.org"} | spec))


def authority(*, signer_not_after: datetime | None = None, **spec: Any) -> Authority:
    """Return what leaves are issued with under the shared test authority."""
    wish, pair = desired(**spec), pki.authority()
    facts = certificates.facts(pair.signer)
    return Authority(
        configuration="default",
        trust_domain=pki.TRUST_DOMAIN,
        cluster_name=wish.cluster_name,
        naming=wish.naming,
        leaf_ttl=wish.leaf_ttl,
        leaf_max_ttl=wish.leaf_max_ttl,
        root=certificates.fingerprint(pair.root),
        signer=pair.signer,
        signer_key_id=facts.subject_key_id,
        signer_secret="meshca-signer-default-0123456789",
        signer_not_after=signer_not_after or facts.not_after,
        chain=certificates.to_pem(pair.signer),
        bundle=certificates.to_pem(pair.root),
        bundle_digest="d1",
        trusted=(pair.root,),
    )


@cache
def chain_of(now: datetime = NOW, ttl: timedelta = 72 * HOUR) -> tuple[x509.Certificate, str]:
    """Return a leaf issued then, and its chain as PEM."""
    pair = pki.authority()
    issued = pair.leaf(now=now, ttl=ttl)
    return issued, certificates.to_pem(issued, pair.signer)


def facts_of(now: datetime = NOW, ttl: timedelta = 72 * HOUR) -> IssuedFacts:
    issued, text = chain_of(now, ttl)
    facts = certificates.facts(issued)
    return IssuedFacts(
        digest=chain_digest(text),
        serial=facts.serial,
        spiffe_id=facts.uris[0],
        public_key=facts.public_key_sha256,
        signer=facts.authority_key_id,
        root=certificates.fingerprint(pki.authority().root),
        not_before=facts.not_before,
        not_after=facts.not_after,
    )


def spec(**changes: Any) -> LeafSpec:
    """Return what a request asks for: a CSR, unless a Secret is named."""
    managed = bool(changes.get("secret_name"))
    return replace(
        LeafSpec(
            configuration="default",
            request="" if managed else pki.request(),
            secret_name="",
            service_account="web",
            requester="",
            ttl="",
            dns_names=(),
            ip_addresses=(),
            key_algorithm="",
            key_size=None,
            automatic=managed,
        ),
        **changes,
    )


def fresh(*, created: datetime | None = NOW, deleting: bool = False, **asks: Any) -> LeafView:
    """Return a request that nobody has looked at."""
    return LeafView(
        meta=meta(created=created, deleting=deleting),
        spec=spec(**asks),
        state="",
        reason="",
        ready="",
        message="",
        reason_since=None,
        observed_generation=0,
        renew_at=None,
        chain="",
        chain_digest="",
    )


def told(view: LeafView, report: leaf_planning.Report, now: datetime = NOW) -> LeafView:
    """Return a request whose status holds a report."""
    return replace(
        view,
        state=report.state,
        ready=str(report.ready),
        reason=report.reason,
        message=report.message,
        reason_since=now,
        observed_generation=view.meta.generation,
    )


def issued(*, at: datetime = NOW, ttl: timedelta = 72 * HOUR, **asks: Any) -> LeafView:
    """Return a request that got its certificate then, verified."""
    facts = facts_of(at, ttl)
    view = told(fresh(created=at, **asks), leaf_planning.HOLDS, at)
    due = renewal.renew_at(view.meta.uid, facts.not_before, facts.not_after)
    return replace(view, renew_at=due, chain_digest=facts.digest, issued=facts)


def unverified(view: LeafView) -> LeafView:
    """Return an issued request as a start finds it: with its chain's text, and no facts yet."""
    assert view.issued is not None
    ttl = view.issued.not_after - view.issued.not_before - 5 * MINUTE
    return replace(view, chain=chain_of(view.issued.not_before + 5 * MINUTE, ttl)[1], issued=None)


def secret(view: LeafView, **changes: Any) -> SecretView:
    """Return the sound Secret of a managed request."""
    facts = view.issued
    sound = SecretView(
        uid="s1",
        resource_version="200",
        owner_uid=view.meta.uid,
        serial=facts.serial if facts else "1",
        chain_digest=facts.digest if facts else "d",
        consistent=True,
    )
    return replace(sound, **changes)


def snapshot(view: LeafView, *, now: datetime = NOW, **changes: Any) -> LeafSnapshot:
    """Return a snapshot of a request in good surroundings; refuses what cannot be observed together."""
    found = replace(
        LeafSnapshot(
            now=now,
            leaf=view,
            authority=authority(),
            admission=IN_FORCE,
            namespace_labels={"team": "shop"},
            account_exists=True,
            managed_allowed=True,
            operator_namespace="meshca-system",
            secret=secret(view) if view.spec.managed and view.issued else None,
        ),
        **changes,
    )
    check(found)
    return found


def check(found: LeafSnapshot) -> None:
    """Fail on a state that the API server and the store never show."""
    view = found.leaf
    assert bool(view.spec.request) != bool(view.spec.secret_name), "both or none of request and secretName"
    assert view.spec.automatic or not view.spec.managed, "managed requests are always Automatic"
    assert view.meta.created is None or view.meta.created <= found.now, "created in the future"
    assert found.admission.in_force == (found.admission.since is not None), "in force since never"
    assert found.secret is None or view.spec.managed, "a Secret without secretName"
    assert not found.older_claim or view.spec.managed, "a claim without secretName"
    assert bool(view.state) == bool(view.observed_generation), "a state nobody wrote"
    if view.issued is not None:
        assert view.chain_digest == view.issued.digest, "facts of another chain"
        assert not view.chain, "text kept beside its facts"
        assert view.issued.not_before < view.issued.not_after, "no life"
    elif view.chain:
        assert view.chain_digest == chain_digest(view.chain), "a digest of another text"
    else:
        assert not view.chain_digest, "a digest of nothing"
