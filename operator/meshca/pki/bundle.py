"""The set of root certificates that peers must trust, in the one form that is compared and published.

Decides order and digest, so that two clusters holding the same roots hold the same bytes; never which
roots belong in it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from meshca.pki.certificates import CHAIN_LIMIT_BYTES, fingerprint, load_all, to_der, to_pem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography import x509


@dataclass(frozen=True, slots=True)
class Bundle:
    """Root certificates, each once, ordered by fingerprint; PEM, fingerprints and digest follow from them.

    ``digest`` is the hex SHA-256 over the roots' DER in that order: the pin of a first contact.
    """

    roots: tuple[x509.Certificate, ...] = ()
    fingerprints: tuple[str, ...] = field(init=False)
    pem: str = field(init=False, repr=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        by_fingerprint = {fingerprint(root): root for root in self.roots}
        order = tuple(sorted(by_fingerprint))
        roots = tuple(by_fingerprint[name] for name in order)
        object.__setattr__(self, "roots", roots)
        object.__setattr__(self, "fingerprints", order)
        object.__setattr__(self, "pem", to_pem(*roots))
        object.__setattr__(self, "digest", hashlib.sha256(b"".join(map(to_der, roots))).hexdigest())

    @classmethod
    def of(cls, roots: Iterable[x509.Certificate]) -> Self:
        """Build a bundle of any number of roots, in any order, with repetitions."""
        return cls(tuple(roots))

    @classmethod
    def parse(cls, text: str | bytes, *, limit_bytes: int = CHAIN_LIMIT_BYTES) -> Self:
        """Read a bundle from PEM text of anybody; blank text is the empty one.

        ``InvalidError`` for garbage.
        """
        return cls.of(load_all(text, limit_bytes=limit_bytes)) if text.strip() else cls()

    def merge(self, other: Bundle) -> Bundle:
        """Return the union of two bundles."""
        return Bundle(self.roots + other.roots)

    def without(self, name: str) -> Bundle:
        """Return the bundle without the root of this fingerprint."""
        return Bundle(tuple(root for root in self.roots if fingerprint(root) != name))

    def covers(self, other: Bundle) -> bool:
        """Tell whether every root of the other bundle is in this one."""
        return set(other.fingerprints) <= set(self.fingerprints)
