"""What a leaf really holds: facts read from its certificate chain once its signatures were checked.

Decides whether the chain in a status was made by us, for this request, under a trusted root. Never
believes a status field beside the chain, because somebody else may have written it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from meshca.errors import InvalidError
from meshca.pki import chain
from meshca.pki.certificates import fingerprint, load_all
from meshca.pki.garbage import GARBAGE
from meshca.planning.views import IssuedFacts, chain_digest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from meshca.planning.authority import Authority
    from meshca.planning.views import LeafView


class Verifier:
    """Checks chains; a signer is verified under the trusted roots once, not once for each leaf."""

    def __init__(self) -> None:
        self._signers: dict[tuple[str, str], str] = {}

    def facts(self, view: LeafView, authority: Authority, now: datetime) -> IssuedFacts | None:
        """Return what the chain of a view proves, or None when it proves nothing (any more)."""
        try:
            issued = chain.chain_facts(view.chain)
            # An expired leaf was issued, too: what counts is the time when it was of use.
            at = min(now, issued.leaf.not_after)
            root = self._root_of(issued.certificates, authority, at)
        except InvalidError:
            return None
        if len(issued.leaf.uris) != 1 or not _is_for(view, issued.certificates[0]):
            return None
        return IssuedFacts(
            digest=view.chain_digest,
            serial=issued.leaf.serial,
            spiffe_id=issued.leaf.uris[0],
            public_key=issued.leaf.public_key_sha256,
            signer=issued.signer.subject_key_id,
            root=root,
            not_before=issued.leaf.not_before,
            not_after=issued.leaf.not_after,
        )

    def _root_of(self, certificates: tuple[x509.Certificate, ...], authority: Authority, at: datetime) -> str:
        signer, others = certificates[1], certificates[2:]
        key = (fingerprint(signer), authority.bundle_digest)
        if key not in self._signers:
            root = root_of(signer, others, authority.trusted, at)
            if len(self._signers) > 1000:  # noqa: PLR2004  a bound, not a tuned value
                self._signers.clear()
            self._signers[key] = root
        return self._signers[key]


def root_of(
    signer: x509.Certificate,
    others: Sequence[x509.Certificate],
    trusted: Sequence[x509.Certificate],
    at: datetime,
) -> str:
    """Return the fingerprint of the root that a signer was issued under; ``InvalidError`` if none trusts it.

    A path over a cross-certificate ends at an older root, which the signer does not need: it counts only
    when the signer's own root is not trusted.
    """
    try:
        path = chain.verify(signer, (), trusted, at=at)
    except InvalidError:
        path = chain.verify(signer, others, trusted, at=at)
    return fingerprint(path[-1])


def _is_for(view: LeafView, leaf: x509.Certificate) -> bool:
    """Tell whether a leaf holds the key of the request; always for a managed one, whose key is elsewhere."""
    if view.spec.managed:
        return True
    try:
        return x509.load_pem_x509_csr(view.spec.request.encode()).public_key() == leaf.public_key()
    except GARBAGE:
        return False


def facts_of_issue(leaf: x509.Certificate, text: str, root: str) -> IssuedFacts:
    """Return the facts of a leaf that was issued here; ``text`` is the chain as written, PEM."""
    found = chain.facts(leaf)
    return IssuedFacts(
        digest=chain_digest(text),
        serial=found.serial,
        spiffe_id=found.uris[0],
        public_key=found.public_key_sha256,
        signer=found.authority_key_id,
        root=root,
        not_before=found.not_before,
        not_after=found.not_after,
    )


def facts_of_text(text: str, root: str) -> IssuedFacts:
    """Return the facts of a chain of our own, read back from a Secret."""
    return facts_of_issue(load_all(text)[0], text, root)
