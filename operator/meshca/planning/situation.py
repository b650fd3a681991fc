"""What a CASnapshot amounts to: which wish is in force, which root is active, which signer signs.

Decides how observations are read (adoption after a crash or a restore, the last good spec, the trust
domain); never what to do about them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshca.api.v1alpha1.conditions import Reason
from meshca.errors import InvalidError
from meshca.pki import desired as identities
from meshca.pki.bundle import Bundle
from meshca.pki.identity import TrustDomain
from meshca.planning import signers

if TYPE_CHECKING:
    from meshca.planning.ca import CASnapshot, KeySecret, Root
    from meshca.planning.desired import Desired


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the present spec is not in force, or why nothing is written at all."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Wish:
    """Which root the configuration asks for: its desired identity with and without renewal number 0."""

    identity: str
    base: str
    imported: bool


@dataclass(frozen=True, slots=True)
class Situation:
    """A snapshot, read.

    ``settled`` is the wish in force: the present spec, or the last good one while the present one has
    a ``problem``; ``stopped`` means that nothing may be written for this configuration.
    """

    snapshot: CASnapshot
    settled: Desired | None
    problem: Problem | None
    stopped: bool
    trust_domain: TrustDomain
    maybe_wish: Wish | None
    active_name: str
    root: Root | None
    root_secret: KeySecret | None
    signer: KeySecret | None
    bundle: Bundle

    @property
    def desired(self) -> Desired:
        """Return the wish in force; only asked for when there is one."""
        assert self.settled is not None
        return self.settled

    @property
    def wish(self) -> Wish:
        """Return the root asked for; only asked for when there is one."""
        assert self.maybe_wish is not None
        return self.maybe_wish


def assess(snapshot: CASnapshot) -> Situation:
    """Read a snapshot."""
    established = _established_trust_domain(snapshot)
    problem = _problem(snapshot, established)
    settled = snapshot.wish if problem is None else snapshot.accepted
    root = _current_root(snapshot)
    root_secret = _secret_of(snapshot, root)
    signer = signers.best(snapshot, root)
    wish = _root_wish(snapshot, settled) if settled is not None else None
    conflict = problem is not None and problem.reason in {
        Reason.TRUST_DOMAIN_CONFLICT,
        Reason.BUNDLE_CONFLICT,
    }
    nothing_to_make = root is None and not snapshot.root_secrets and wish is None
    return Situation(
        snapshot=snapshot,
        settled=settled,
        problem=problem,
        stopped=conflict or settled is None or nothing_to_make,
        trust_domain=established or _wanted_trust_domain(snapshot, settled),
        maybe_wish=wish,
        active_name=_active_name(snapshot),
        root=root,
        root_secret=root_secret,
        signer=signer,
        bundle=Bundle(tuple(item.certificate for item in _trusted(snapshot, root))),
    )


def _active_name(snapshot: CASnapshot) -> str:
    name = snapshot.status.get("activeRoot")
    return name if isinstance(name, str) else ""


def _current_root(snapshot: CASnapshot) -> Root | None:
    """Return the root that is active, was active before its status was lost, or is to become the first."""
    by_name = {root.meta.name: root for root in snapshot.roots}
    active = by_name.get(_active_name(snapshot))
    if active is not None:
        return active
    in_force = [root for root in snapshot.roots if root.activated_at and not root.rotated_out_at]
    never_used = [root for root in snapshot.roots if not root.activated_at]
    candidates = in_force or never_used
    return min(candidates, key=lambda root: (root.facts.not_before, root.meta.name), default=None)


def _secret_of(snapshot: CASnapshot, root: Root | None) -> KeySecret | None:
    if root is None:
        return None
    for secret in snapshot.root_secrets:
        if secret.usable and secret.facts and secret.facts.fingerprint == root.facts.fingerprint:
            return secret
    return None


def _trusted(snapshot: CASnapshot, root: Root | None) -> tuple[Root, ...]:
    """Return the roots that peers must trust: those activated and not pruned, or the coming first."""
    once_active = tuple(item for item in snapshot.roots if item.activated_at and _entered(snapshot, item))
    if root is None or root in once_active:
        return once_active
    return (*once_active, root) if not once_active and _secret_of(snapshot, root) else once_active


def _entered(snapshot: CASnapshot, root: Root) -> bool:
    """Tell whether a root is in the bundle, or may enter it because its key is here."""
    bundle = snapshot.status.get("bundle")
    recorded = bundle.get("roots") if isinstance(bundle, dict) else None
    # After a restore without status the annotations are all there is to go by.
    return not recorded or root.facts.fingerprint in recorded or _secret_of(snapshot, root) is not None


def _established_trust_domain(snapshot: CASnapshot) -> TrustDomain | None:
    """Return the trust domain that can no longer change: from status, else from what exists (a restore)."""
    recorded = snapshot.status.get("trustDomain")
    found = [recorded] if isinstance(recorded, str) else []
    secrets = (*snapshot.root_secrets, *snapshot.signer_secrets)
    uris = [root.facts.uris for root in snapshot.roots]
    uris += [secret.facts.uris for secret in secrets if secret.facts is not None]
    found += [names[0].removeprefix("spiffe://") for names in uris if len(names) == 1]
    return next((domain for text in found if (domain := _trust_domain(text)) is not None), None)


def _trust_domain(text: str) -> TrustDomain | None:
    try:
        return TrustDomain.parse(text)
    except InvalidError:
        return None


def _wanted_trust_domain(snapshot: CASnapshot, settled: Desired | None) -> TrustDomain:
    if settled is not None and settled.trust_domain is not None:
        return settled.trust_domain
    if snapshot.imported is not None and snapshot.imported.uri:
        return TrustDomain.parse(snapshot.imported.uri.removeprefix("spiffe://"))
    return TrustDomain.parse(f"{snapshot.meta.uid}.meshca.local")


def _problem(snapshot: CASnapshot, established: TrustDomain | None) -> Problem | None:
    if snapshot.trust_domain_owner:
        return Problem(
            Reason.TRUST_DOMAIN_CONFLICT,
            f"the trust domain belongs to CAConfiguration {snapshot.trust_domain_owner!r}; choose another"
            " spec.trustDomain",
        )
    if snapshot.bundle_owner:
        return Problem(
            Reason.BUNDLE_CONFLICT,
            f"the bundle name belongs to CAConfiguration {snapshot.bundle_owner!r}; choose another"
            " spec.trustBundle.configMapName",
        )
    if snapshot.wish is None:
        return Problem(Reason.INVALID_CONFIGURATION, snapshot.wish_problem)
    wanted = snapshot.wish.trust_domain
    if established is not None and wanted is not None and wanted != established:
        return Problem(
            Reason.INVALID_CONFIGURATION,
            f"spec.trustDomain is {wanted.name!r}, but this CA was made for {established.name!r}: a trust"
            " domain never changes",
        )
    if snapshot.imported is not None and snapshot.imported.problem:
        return Problem(Reason.INVALID_CONFIGURATION, snapshot.imported.problem)
    return None


def _root_wish(snapshot: CASnapshot, settled: Desired) -> Wish | None:
    if not settled.imported_secret:
        base = identities.base_identity(settled.provider, "", settled.key, settled.trigger)
        identity = identities.desired_identity(settled.provider, "", settled.key, settled.trigger, 0)
        return Wish(identity=identity, base=base, imported=False)
    if snapshot.imported is None or snapshot.imported.problem:
        return None
    fingerprint = snapshot.imported.fingerprint[:10]
    return Wish(identity=fingerprint, base=fingerprint, imported=True)
