"""Everything that is random comes from the seed: identifiers, jitter, keys, serial numbers, signatures.

Decides where product code and libraries get their randomness from while a history runs. Keys made here
are worthless; nothing else may ever use this.
"""

from __future__ import annotations

import os
import random
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from meshca.engine import backoff
from meshca.pki import keys, prepared, signatures
from tests.simulation import rsa_pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshca.pki.keys import KeySpec, PrivateKey

_ORDERS = {224: 2**223, 256: 2**255, 384: 2**383, 521: 2**520}
"""Private numbers are drawn below these, which are below each curve's order."""


class Entropy:
    """A seeded source in place of the machine's."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(f"entropy {seed}")
        self._rsa = 0

    def bytes(self, count: int) -> bytes:
        return self.random.randbytes(count)

    def key(self, spec: KeySpec) -> PrivateKey:
        """Make a key as ``keys.generate`` does; RSA keys come from a pool, because making one is slow."""
        if spec.algorithm is keys.KeyAlgorithm.ECDSA:
            number = self.random.randrange(2, _ORDERS[spec.size])
            return ec.derive_private_key(number, keys._CURVES[spec.size]())
        if spec.algorithm is keys.KeyAlgorithm.ED25519:
            return ed25519.Ed25519PrivateKey.from_private_bytes(self.bytes(32))
        self._rsa += 1
        return rsa_pool.key(spec.size, self._rsa)


@contextmanager
def seeded(seed: int) -> Iterator[Entropy]:
    """Replace the machine's randomness inside."""
    source = Entropy(seed)
    with ExitStack() as stack:
        for target, name, new in (
            (os, "urandom", source.bytes),
            (random, "_urandom", source.bytes),
            (random.SystemRandom, "random", lambda _: source.random.random()),
            (random.SystemRandom, "getrandbits", lambda _, count: source.random.getrandbits(count)),
            (keys, "generate", source.key),
            (prepared, "sign", _sign),
            (x509.CertificateSigningRequestBuilder, "sign", _sign_request),
        ):
            stack.enter_context(mock.patch.object(target, name, new))
        # Back-off draws from a generator of its own, which the machine would seed.
        seeded_random = SimpleNamespace(Random=lambda: random.Random(source.random.getrandbits(64)))
        stack.enter_context(mock.patch.object(backoff, "random", seeded_random))
        yield source


_REALLY_SIGN_REQUEST = x509.CertificateSigningRequestBuilder.sign


def _sign_request(builder: Any, key: PrivateKey, algorithm: Any, **more: Any) -> Any:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        more["ecdsa_deterministic"] = True
    return _REALLY_SIGN_REQUEST(builder, key, algorithm, **more)


def _sign(key: PrivateKey, data: bytes) -> bytes:
    """Sign as the product does, with nonces by RFC 6979."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        algorithm = signatures._ECDSA_HASHES[key.curve.key_size]
        return key.sign(data, ec.ECDSA(algorithm, deterministic_signing=True))
    return signatures.sign(key, data)
