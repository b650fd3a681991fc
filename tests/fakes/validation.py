"""One certificate of each kind, for each kind of CA key, to put before other people's validators.

A case says whether the path must be accepted or refused. No case depends on how a validator searches.
Cases are made when they are asked for, because RSA keys take long to make.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from meshca.pki import issuance
from meshca.pki.identity import SPIFFEID
from tests.fakes.pki import (
    CA_SPECS,
    HOUR,
    LEAF_SPECS,
    NOW,
    SPIFFE_ID,
    TRUST_DOMAIN,
    Authority,
    authority,
    imported_root,
    key,
    make_root,
    make_signer,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography import x509

LONGEST_ID = SPIFFEID.parse(f"{TRUST_DOMAIN.uri}/".ljust(2048, "a"))


@dataclass(frozen=True)
class Case:
    """A certificate, what is sent along with it, and the roots that the validator trusts."""

    certificate: x509.Certificate
    others: tuple[x509.Certificate, ...]
    roots: tuple[x509.Certificate, ...]
    accepted: bool = True

    def chained(self) -> tuple[x509.Certificate, ...]:
        """Return the whole path, each certificate below the next."""
        return (self.certificate, *self.others, *self.roots)


def _of(ours: Authority, certificate: x509.Certificate, *, accepted: bool = True) -> Case:
    return Case(certificate, (ours.signer,), (ours.root,), accepted)


def _leaf(text: str) -> Case:
    return _of(authority(text), authority(text).leaf())


def _signer(text: str) -> Case:
    return Case(authority(text).signer, (), (authority(text).root,))


def _root(text: str) -> Case:
    return Case(authority(text).root, (), (authority(text).root,))


def _leaf_of(text: str) -> Case:
    return _of(authority(), authority().leaf(key(text, "leaf").public_key()))


def _named_leaf() -> Case:
    ours = authority()
    leaf = issuance.leaf_certificate(
        key("ECDSA 256", "leaf").public_key(),
        issuer_cert=ours.signer,
        issuer_key=ours.signer_key,
        spiffe_id=SPIFFE_ID,
        dns_names=["web.shop.svc"],
        ip_addresses=[ipaddress.ip_address("10.0.0.1"), ipaddress.ip_address("fd00::1")],
        ttl=HOUR,
        now=NOW,
    )
    return _of(ours, leaf)


def _crossed(old: str, new: str) -> Case:
    return _rotated(authority(old), authority(new, "new"))


def _rotated(older: Authority, newer: Authority) -> Case:
    crossed = issuance.cross_certificate(
        newer.root, issuer_cert=older.root, issuer_key=older.root_key, now=NOW
    )
    return Case(newer.leaf(), (newer.signer, crossed), (older.root,))


def _largest_rsa() -> Case:
    """Cross-sign a small root with the slowest key, the only one of its kind here."""
    old_key = key("RSA 4096")
    old = make_root(old_key)
    return _rotated(Authority(old, old_key, old, old_key), authority("ECDSA 256", "new"))


def _imported(path_length: int | None, subject: str) -> Case:
    old_key, new_key = key("ECDSA 256", "imported old"), key("ECDSA 256", "imported new")
    old = imported_root(old_key, path_length=path_length)
    new = imported_root(new_key, path_length=path_length, subject=subject)
    signer_key = key("ECDSA 256", "signer")
    signer = make_signer(signer_key.public_key(), new, new_key)
    return _rotated(Authority(old, old_key, old, old_key), Authority(new, new_key, signer, signer_key))


def _foreign() -> Case:
    return Case(
        authority().leaf(), (authority().signer,), (authority("ECDSA 256", "new").root,), accepted=False
    )


def _signerless() -> Case:
    return Case(authority().leaf(), (), (authority().root,), accepted=False)


def _uncrossed() -> Case:
    new = authority("ECDSA 256", "new")
    return Case(new.leaf(), (new.signer,), (authority().root,), accepted=False)


def _expired() -> Case:
    return _of(authority(), authority().leaf(ttl=HOUR, now=NOW - 2 * HOUR), accepted=False)


def _early() -> Case:
    return _of(authority(), authority().leaf(now=NOW + 24 * HOUR), accepted=False)


def _makers() -> dict[str, Callable[[], Case]]:
    makers: dict[str, Callable[[], Case]] = {}
    for text in CA_SPECS:
        makers[f"leaf under {text}"] = partial(_leaf, text)
        makers[f"signer under {text}"] = partial(_signer, text)
        makers[f"root of {text}"] = partial(_root, text)
        for new in CA_SPECS:
            makers[f"leaf under {new}, cross-signed by {text}"] = partial(_crossed, text, new)
    for text in LEAF_SPECS:
        makers[f"leaf of {text}"] = partial(_leaf_of, text)
    return makers


MAKERS: dict[str, Callable[[], Case]] = {
    **_makers(),
    "leaf with further names": _named_leaf,
    "leaf with the longest ID": lambda: _of(authority(), authority().leaf(spiffe_id=LONGEST_ID)),
    "leaf under ECDSA 256, cross-signed by RSA 4096": _largest_rsa,
    "imported roots with pathLen 2": partial(_imported, 2, "a new root"),
    "imported roots of one subject": partial(_imported, None, "somebody's root"),
    "refused: foreign root": _foreign,
    "refused: no signer": _signerless,
    "refused: old root without cross-certificate": _uncrossed,
    "refused: expired leaf": _expired,
    "refused: leaf of tomorrow": _early,
}


@cache
def case(name: str) -> Case:
    """Return the one case of this name in this process."""
    return MAKERS[name]()


def is_ca(name: str) -> bool:
    """Tell whether a case is about a CA certificate."""
    return name.startswith(("signer", "root"))
