"""What a provider of CA keys must do, and what it may be able to do.

A provider makes roots and signs what stands below them; it never decides when. Every certificate it
returns goes through ``providers.checks`` before anybody uses it. Optional abilities are protocols of
their own, found by ``isinstance``. Errors: ``TransientError`` (try again), ``MisconfiguredError`` (a
person must act), ``RefusedError`` (will not be granted).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from cryptography import x509

    from meshca.pki.identity import TrustDomain
    from meshca.pki.keys import KeySpec, PrivateKey, PublicKey

API_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CA certificate with its private key; the key never leaves Secrets and memory."""

    certificate: x509.Certificate
    key: PrivateKey

    def __repr__(self) -> str:
        return f"KeyPair({self.certificate.subject.rfc4514_string()})"


@dataclass(frozen=True, slots=True)
class RootRequest:
    """What a new root is to be; ``now`` is UTC, ``ttl`` its whole life."""

    configuration: str
    trust_domain: TrustDomain
    key: KeySpec
    ttl: timedelta
    now: datetime


@dataclass(frozen=True, slots=True)
class SignerRequest:
    """A leaf-signing intermediate to be signed; its end is clamped to the root's."""

    configuration: str
    trust_domain: TrustDomain
    cluster_name: str
    public_key: PublicKey
    ttl: timedelta
    now: datetime


class Provider(Protocol):
    """The mandatory part."""

    async def make_root(self, request: RootRequest) -> KeyPair:
        """Make a self-signed root."""
        ...

    async def sign_signer(self, root: KeyPair, request: SignerRequest) -> x509.Certificate:
        """Sign an intermediate under a root of this provider."""
        ...


@runtime_checkable
class CrossSigns(Protocol):
    """A provider whose roots can sign another root."""

    async def cross_sign(self, root: KeyPair, other: x509.Certificate, now: datetime) -> x509.Certificate:
        """Return the other root's subject and key, signed by this root."""
        ...
