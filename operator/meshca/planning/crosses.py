"""Cross-certificates: which a root should have and has, and which of them follow its leaves.

Decides by the roots that are trusted at this moment and by what Secrets, or a primary, hold. Never says who
is to be trusted, nor when a certificate is made: that is ``planning.rotation`` and ``planning.turning``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from meshca.errors import InvalidError
from meshca.pki.certificates import authority_key_id_of, load_all, to_pem
from meshca.planning.situation import secret_of

if TYPE_CHECKING:
    from cryptography import x509

    from meshca.planning.ca import CASnapshot, KeySecret, Root
    from meshca.planning.situation import Situation


def signers_of(found: Situation, target: Root | None) -> tuple[Root, ...]:
    """Return the trusted roots by which a new one should be signed: those that still live."""
    now = found.snapshot.now
    return tuple(
        item
        for item in found.trusted
        if item.activated_at
        and item.facts.not_after > now
        and (target is None or item.facts.fingerprint != target.facts.fingerprint)
    )


def holder(snapshot: CASnapshot, root: Root | None) -> KeySecret | Root | None:
    """Return what holds the cross-certificates of a root: its Secret, or itself when it is mirrored."""
    if root is not None and root.mirrored:
        return root
    return secret_of(snapshot, root)


def is_crossed(secret: KeySecret | Root, issuer: Root) -> bool:
    """Tell whether there is a certificate of a root by another root: in its Secret, or mirrored with it."""
    return any(signed_by(item) == issuer.facts.subject_key_id for item in secret.cross)


def signed_by(certificate: x509.Certificate) -> str:
    """Return the hex key id of the root that signed a cross-certificate."""
    return authority_key_id_of(certificate).hex()


def cannot_cross(snapshot: CASnapshot, issuer: Root, target: Root | None) -> str:
    """Say why a root cannot sign another one, or "" when it can."""
    fingerprint = target.facts.fingerprint if target is not None else ""
    if issuer.facts.not_after <= snapshot.now:
        return f"root {issuer.meta.name!r} has expired"
    if (issuer.provider or "Builtin") not in snapshot.cross_signers:
        return f"the provider of root {issuer.meta.name!r} cannot cross-sign"
    if secret_of(snapshot, issuer) is None:
        return f"the key of root {issuer.meta.name!r} is missing"
    return snapshot.cross_problems.get((issuer.facts.fingerprint, fingerprint), "")


def missing(found: Situation, target: Root, secret: KeySecret | Root) -> tuple[Root, ...]:
    """Return the roots that should have signed the new one and have not."""
    return tuple(item for item in signers_of(found, target) if not is_crossed(secret, item))


def chain_of(found: Situation, root: Root, signer: KeySecret) -> str:
    """Return what follows a leaf: the signer, and each cross-certificate that somebody can use; PEM."""
    assert signer.certificate is not None
    return to_pem(signer.certificate, *served(found, root, signer))


def served(found: Situation, root: Root, signer: KeySecret) -> tuple[x509.Certificate, ...]:
    """Return the cross-certificates that follow a signer of a root."""
    held = holder(found.snapshot, root)
    if held is None or (root.mirrored and not root.cross):
        # Where the root's Secret is missing, what its signer was given is all there is.
        held = replace(signer, cross=given(root, signer))
    return useful(found, root, held)


def given(root: Root, signer: KeySecret) -> tuple[x509.Certificate, ...]:
    """Return the cross-certificates of a root that the Secret of its signer holds."""
    try:
        _, *others = load_all(signer.chain)
    except InvalidError:
        return ()
    of_root = (root.certificate.subject, root.certificate.public_key())
    return tuple(item for item in others if (item.subject, item.public_key()) == of_root)


def useful(found: Situation, root: Root, secret: KeySecret | Root) -> tuple[x509.Certificate, ...]:
    """Return the cross-certificates that have not expired and whose root is still trusted.

    By the root that was active last first: of several, OpenSSL, GnuTLS and Envoy follow only the first.
    """
    place = {item.facts.subject_key_id: item for item in found.trusted if item is not root}
    live = [item for item in secret.cross if item.not_valid_after_utc > found.snapshot.now]
    useful = [(place[signed_by(item)], item) for item in live if signed_by(item) in place]
    useful.sort(key=lambda pair: _last_use(found, pair[0]), reverse=True)
    return tuple(item for _, item in useful)


def _last_use(found: Situation, root: Root) -> tuple[bool, float, str]:
    used = root.activated_at.timestamp() if root.activated_at else 0.0
    return (root is found.root, used, root.meta.name)
