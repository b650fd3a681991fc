"""The certificates of every situation, made by the same code that makes a CA's, and valid now.

Decides what stands in a chain and in a bundle; never what is expected of it, and nothing is written here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from e2e.interop.situations import (
    ENDED,
    LEAF_KINDS,
    NEW,
    OLD,
    OLD_BY_NEW,
    OLD_BY_OLDER,
    OLDER,
    SECTIONS,
    SIGNER,
    USUAL,
    pairs,
)
from meshca.pki import issuance, keys
from meshca.pki.certificates import to_pem
from meshca.pki.identity import SPIFFEID, TrustDomain
from meshca.pki.keys import KeyAlgorithm, KeySpec, PrivateKey
from meshca.pki.profile import RootProfile, SignerProfile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography import x509

    from e2e.interop.situations import Pair, Situation

TRUST_DOMAIN = TrustDomain.parse("mesh.example.org")
SPIFFE_ID = SPIFFEID.parse(f"{TRUST_DOMAIN.uri}/ns/shop/sa/payment")
NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Case:
    """One question: a chain, leaf first, its leaf's key, the bundle of the peer, and what must come out."""

    name: str
    chain: tuple[x509.Certificate, ...]
    key: PrivateKey
    bundle: tuple[x509.Certificate, ...]
    accepted: bool

    @property
    def chain_pem(self) -> str:
        """Return the chain as it is served."""
        return to_pem(*self.chain)

    @property
    def bundle_pem(self) -> str:
        """Return the bundle as it is published."""
        return to_pem(*self.bundle)


@dataclass(frozen=True, slots=True)
class Root:
    """A root with its key, and a signer with its own."""

    certificate: x509.Certificate
    key: PrivateKey
    signer: x509.Certificate
    signer_key: PrivateKey


def spec(text: str) -> KeySpec:
    """Read ``ECDSA 256``."""
    algorithm, _, size = text.partition(" ")
    return KeySpec.of(KeyAlgorithm(algorithm), int(size) if size else None)


@cache
def leaf_key(kind: str) -> PrivateKey:
    """Return the one key of this kind that all leaves share."""
    return keys.generate(spec(kind))


@cache
def root(kind: str, name: str) -> Root:
    """Return the one root of this kind of key and name; the ended one is dead since yesterday."""
    made, life = (NOW - 2 * DAY, DAY) if name == ENDED else (NOW, 3650 * DAY)
    key, signer_key = keys.generate(spec(kind)), keys.generate(spec(kind))
    certificate = issuance.self_signed_root(
        key, trust_domain=TRUST_DOMAIN, configuration="default", profile=RootProfile(life), now=made
    )
    signer = issuance.signer_certificate(
        signer_key.public_key(),
        issuer_cert=certificate,
        issuer_key=key,
        trust_domain=TRUST_DOMAIN,
        configuration="default",
        cluster_name="default",
        profile=SignerProfile(365 * DAY),
        now=made,
    )
    return Root(certificate, key, signer, signer_key)


@cache
def cross(of: Root, by: Root) -> x509.Certificate:
    """Return the cross-certificate of one root by another, made when both were alive."""
    made = min(NOW, by.certificate.not_valid_after_utc - timedelta(hours=12))
    return issuance.cross_certificate(of.certificate, issuer_cert=by.certificate, issuer_key=by.key, now=made)


@cache
def leaf(under: Root, kind: str) -> x509.Certificate:
    """Return a leaf of the one workload under a root."""
    return issuance.leaf_certificate(
        leaf_key(kind).public_key(),
        issuer_cert=under.signer,
        issuer_key=under.signer_key,
        spiffe_id=SPIFFE_ID,
        ttl=3 * DAY,
        now=NOW,
    )


def case(pair: Pair, situation: Situation) -> Case:
    """Build the certificates of a situation for a pair of kinds of key."""
    roots = {name: root(pair.old, name) for name in (OLD, OLDER, ENDED)} | {NEW: root(pair.new, NEW)}
    under = roots[situation.leaf]

    def link(by: str) -> x509.Certificate:
        return cross(roots[OLD], roots[OLDER]) if by == OLD_BY_OLDER else cross(roots[NEW], roots[by])

    def trusted(name: str) -> x509.Certificate:
        if name == SIGNER:
            return under.signer
        return cross(roots[OLD], roots[NEW]) if name == OLD_BY_NEW else roots[name].certificate

    chain = (leaf(under, USUAL), under.signer, *map(link, situation.crosses))
    bundle = tuple(trusted(name) for name in situation.bundle)
    return Case(f"{situation} | {pair}", chain, leaf_key(USUAL), bundle, situation.accepted)


def leaf_case(kind: str) -> Case:
    """Build a leaf with another kind of key, under the usual CA."""
    under = root(USUAL, NEW)
    return Case(
        f"leaf key {kind}",
        (leaf(under, kind), under.signer),
        leaf_key(kind),
        (under.certificate,),
        accepted=True,
    )


def cases() -> Iterator[Case]:
    """Build every question there is; RSA keys take about a second altogether."""
    for section, situations in SECTIONS.items():
        for pair in pairs()[:1] if section == "odd" else pairs():
            yield from (case(pair, situation) for situation in situations)
    yield from map(leaf_case, LEAF_KINDS)


def served_bytes(kind: str, crosses: int) -> int:
    """Return the size in bytes, as PEM, of a chain with so many cross-certificates, all keys of one kind."""
    new = root(kind, NEW)
    made = (cross(new, root(kind, by)) for by in (OLD, OLDER)[:crosses])
    return len(to_pem(leaf(new, USUAL), new.signer, *made))
