"""Reading a CASnapshot: which wish is in force, which root is active, which signer signs, who is trusted.

Decides how observations are read (adoption after a crash or a restore, the last good spec, the trust
domain); never what to do about them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from meshca.api.v1alpha1.conditions import Reason
from meshca.errors import InvalidError
from meshca.pki import desired as identities
from meshca.pki.bundle import Bundle
from meshca.pki.identity import TrustDomain
from meshca.planning import following, rotation, signers
from meshca.planning.situation import Primary, Problem, Situation, Wish, secret_of

if TYPE_CHECKING:
    from meshca.planning.ca import CASnapshot, Root
    from meshca.planning.desired import Desired


def assess(snapshot: CASnapshot) -> Situation:
    """Read a snapshot."""
    established = _established_trust_domain(snapshot)
    problem = _problem(snapshot, established)
    settled = snapshot.wish if problem is None else snapshot.accepted
    primary = _primary(snapshot, settled, established)
    snapshot = following.with_crosses(snapshot, primary)
    own = settled is not None and primary is None
    wish = _root_wish(snapshot, settled, problem) if settled is not None and own else None
    root = _current_root(snapshot, wish, primary)
    conflict = problem is not None and problem.reason in {
        Reason.TRUST_DOMAIN_CONFLICT,
        Reason.BUNDLE_CONFLICT,
    }
    begun = bool(snapshot.root_secrets or wish or (primary and (primary.facts or snapshot.roots)))
    signer = signers.best(snapshot, root)
    if settled is not None and primary is not None:
        settled = following.bounded(settled, snapshot, signer)
    trusted = _trusted(snapshot, root, primary)
    found = Situation(
        snapshot=snapshot,
        settled=settled,
        problem=problem,
        stopped=conflict or settled is None or (root is None and not begun),
        trust_domain=established or _wanted_trust_domain(snapshot, settled, primary),
        maybe_wish=wish,
        active_name=_active_name(snapshot),
        root=root,
        root_secret=secret_of(snapshot, root),
        signer=signer,
        bundle=Bundle(tuple(item.certificate for item in trusted)),
        trusted=trusted,
        primary=primary,
    )
    aim = rotation.aim(found) if primary is None else following.aim(found)
    return replace(found, target=aim.target, make=aim.make, hold=aim.hold)


def _active_name(snapshot: CASnapshot) -> str:
    name = snapshot.status.get("activeRoot")
    return name if isinstance(name, str) else ""


def _primary(
    snapshot: CASnapshot, settled: Desired | None, established: TrustDomain | None
) -> Primary | None:
    if settled is None or settled.primary is None:
        return None
    return following.primary_of(snapshot, settled.primary, established or settled.trust_domain)


def _current_root(snapshot: CASnapshot, wish: Wish | None, primary: Primary | None) -> Root | None:
    """Return the root that is active, was active before its status was lost, or is to become the first."""
    by_name = {root.meta.name: root for root in snapshot.roots}
    active = by_name.get(_active_name(snapshot))
    if active is not None:
        return active
    usable = [root for root in snapshot.roots if not root.pruned]
    in_force = [root for root in usable if root.activated_at and not root.rotated_out_at]
    if in_force:
        # Two of them: the status was lost between an activation's record and the activation.
        return min(in_force, key=lambda root: (root.activated_at, root.meta.name))
    if primary is not None:
        return following.active_there(snapshot, primary)
    asked = [root for root in usable if wish is not None and root.base == wish.base]
    never_used = [root for root in asked or usable if not root.activated_at]
    return min(never_used, key=lambda root: (root.facts.not_before, root.meta.name), default=None)


def _trusted(snapshot: CASnapshot, root: Root | None, primary: Primary | None) -> tuple[Root, ...]:
    """Return the roots that peers must trust: those published or activated and not pruned, or the first."""
    usable = tuple(item for item in snapshot.roots if not item.pruned)
    inside = tuple(
        item
        for item in usable
        if (item.activated_at or item.published_at) and _entered(snapshot, item, primary)
    )
    if root is None or root in inside or any(item.activated_at for item in inside):
        return inside
    return (*inside, root) if secret_of(snapshot, root) else inside


def _entered(snapshot: CASnapshot, root: Root, primary: Primary | None) -> bool:
    """Tell whether a root is in the bundle, or may enter it: its key is here, or the primary lists it."""
    bundle = snapshot.status.get("bundle")
    recorded = bundle.get("roots") if isinstance(bundle, dict) else None
    # After a restore without status the annotations are all there is to go by.
    if not recorded or root.facts.fingerprint in recorded or secret_of(snapshot, root) is not None:
        return True
    # While the primary does not answer, what was mirrored stays: trust is never lost for want of news.
    return root.mirrored and (primary is None or primary.lists(root) is not False)


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


def _wanted_trust_domain(
    snapshot: CASnapshot, settled: Desired | None, primary: Primary | None
) -> TrustDomain:
    if settled is not None and settled.trust_domain is not None:
        return settled.trust_domain
    if primary is not None and primary.facts is not None:
        return TrustDomain.parse(primary.facts.trust_domain)
    if snapshot.imported is not None and snapshot.imported.uri:
        return TrustDomain.parse(snapshot.imported.uri.removeprefix("spiffe://"))
    # One that is gone has no uid, and makes nothing any more.
    return TrustDomain.parse(f"{snapshot.meta.uid or 'gone'}.meshca.local")


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
    return _same_key(snapshot)


def _same_key(snapshot: CASnapshot) -> Problem | None:
    """Refuse a root with the key of another one, or with its key identifier: neither could sign the other."""
    imported = snapshot.imported
    if imported is None or not imported.public_key:
        return None
    for root in snapshot.roots:
        facts = root.facts
        if facts.public_key_sha256 == imported.public_key and facts.fingerprint != imported.fingerprint:
            return Problem(
                Reason.INVALID_CONFIGURATION,
                f"the imported root has the same key as root {root.meta.name!r} under another certificate;"
                " import a root with a key of its own",
            )
        same_id = imported.key_id and facts.subject_key_id == imported.key_id
        if same_id and facts.fingerprint != imported.fingerprint:
            return Problem(
                Reason.INVALID_CONFIGURATION,
                f"the imported root has the subjectKeyIdentifier of root {root.meta.name!r} and another key:"
                " nobody could tell who signed what; import a root with an identifier of its own",
            )
    return None


def _root_wish(snapshot: CASnapshot, settled: Desired, problem: Problem | None) -> Wish | None:
    if not settled.imported_secret:
        base = identities.base_identity(settled.provider, "", settled.key, settled.trigger)
        identity = identities.desired_identity(settled.provider, "", settled.key, settled.trigger, 0)
        return Wish(identity=identity, base=base, imported=False)
    if snapshot.imported is None or snapshot.imported.problem or _same_key(snapshot) is not None:
        return None
    if problem is not None and snapshot.wish is not None:
        # The pair was read for a spec that is not in force.
        return None
    fingerprint = snapshot.imported.fingerprint[:10]
    return Wish(identity=fingerprint, base=fingerprint, imported=True)
