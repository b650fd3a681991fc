"""The built-in provider: keys are made here and kept by the caller in Secrets.

Decides in which thread a key works: RSA takes tens of milliseconds and must not hold up the event loop,
the other kinds are quicker than a thread switch. Never stores anything.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from meshca.pki import issuance, keys
from meshca.pki.profile import RootProfile, SignerProfile
from meshca.providers.api import KeyPair

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from cryptography import x509

    from meshca.pki.keys import KeySpec
    from meshca.providers.api import RootRequest, SignerRequest

T = TypeVar("T")


async def run_key_work(spec: KeySpec, work: Callable[[], T]) -> T:
    """Run work with a key of this kind where it does not block the loop."""
    if keys.is_slow(spec):
        return await asyncio.to_thread(work)
    return work()


class BuiltinProvider:
    """Makes and uses CA keys in memory; can cross-sign."""

    async def make_root(self, request: RootRequest) -> KeyPair:
        """Make a self-signed root with a new key."""
        key = await run_key_work(request.key, partial(keys.generate, request.key))
        certificate = await run_key_work(
            request.key,
            lambda: issuance.self_signed_root(
                key,
                trust_domain=request.trust_domain,
                configuration=request.configuration,
                profile=RootProfile(request.ttl),
                now=request.now,
            ),
        )
        return KeyPair(certificate, key)

    async def sign_signer(self, root: KeyPair, request: SignerRequest) -> x509.Certificate:
        """Sign a pathLen 0 intermediate, its end clamped to the root's."""
        return await run_key_work(
            keys.spec_of(root.key.public_key()),
            lambda: issuance.signer_certificate(
                request.public_key,
                issuer_cert=root.certificate,
                issuer_key=root.key,
                trust_domain=request.trust_domain,
                configuration=request.configuration,
                cluster_name=request.cluster_name,
                profile=SignerProfile(request.ttl),
                now=request.now,
            ),
        )

    async def cross_sign(self, root: KeyPair, other: x509.Certificate, now: datetime) -> x509.Certificate:
        """Sign another root's name and key with this root's key."""
        return await run_key_work(
            keys.spec_of(root.key.public_key()),
            lambda: issuance.cross_certificate(
                other, issuer_cert=root.certificate, issuer_key=root.key, now=now
            ),
        )
