"""What a CA serves in its present state: the authority of its leaves, the root that signs for secondaries.

Decides whether there is one, from a situation that was read; never whether a request is granted, nor what
has to change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshca.pki.certificates import to_pem
from meshca.planning import castatus, crosses, rotation
from meshca.planning.authority import Authority, Unavailable
from meshca.planning.signingroot import SigningRoot

if TYPE_CHECKING:
    from meshca.planning.situation import Situation


def authority(situation: Situation) -> Authority | Unavailable:
    """Return what leaves are issued with, or why none are."""
    snapshot = situation.snapshot
    if snapshot.meta.deleting:
        return castatus.unavailable("the CAConfiguration is being deleted")
    root, signer, desired = situation.root, situation.signer, situation.settled
    if desired is None or root is None or signer is None or situation.active_name != root.meta.name:
        return castatus.unavailable(castatus.why_not_ready(situation))
    assert signer.certificate is not None
    assert signer.facts is not None
    # Not before it is on record on the CARoot may a leaf live longer.
    longest = root.largest_leaf_ttl or desired.leaf_max_ttl
    return Authority(
        configuration=snapshot.meta.name,
        trust_domain=situation.trust_domain,
        cluster_name=desired.cluster_name,
        naming=desired.naming,
        leaf_ttl=min(desired.leaf_ttl, longest),
        leaf_max_ttl=min(desired.leaf_max_ttl, longest),
        root=root.facts.fingerprint,
        signer=signer.certificate,
        signer_key_id=signer.facts.subject_key_id,
        signer_secret=signer.meta.name,
        signer_not_after=signer.facts.not_after,
        chain=crosses.chain_of(situation, root, signer),
        bundle=situation.bundle.pem,
        bundle_digest=situation.bundle.digest,
        trusted=situation.bundle.roots,
        generation=snapshot.meta.generation,
        bundle_in_secrets=rotation.bundle_in_secrets(situation),
    )


def signing_root(situation: Situation) -> SigningRoot | None:
    """Return what signers of secondaries are signed with; None when none are."""
    snapshot, root, secret = situation.snapshot, situation.root, situation.root_secret
    if root is None or secret is None or situation.settled is None or snapshot.meta.deleting:
        return None
    # A secondary signs none, not even under a root of its own that it still has.
    secondary_itself = situation.primary is not None
    if situation.active_name != root.meta.name or situation.stopped or secondary_itself:
        return None
    return SigningRoot(
        configuration=snapshot.meta.name,
        trust_domain=situation.trust_domain,
        name=root.meta.name,
        certificate=root.certificate,
        fingerprint=root.facts.fingerprint,
        not_after=root.facts.not_after,
        secret=secret.meta.name,
        provider=root.provider or situation.settled.provider,
        crosses=to_pem(*crosses.useful(situation, root, secret)),
        intermediate_ttl=situation.settled.intermediate_ttl,
        bundle=situation.bundle.fingerprints,
    )
