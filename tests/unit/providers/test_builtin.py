"""The built-in provider: every kind of key, lives that nest, cross-signing, and which thread works."""

from __future__ import annotations

import asyncio
import threading

import pytest

from meshca.errors import InvalidError
from meshca.pki import certificates, chain, keys
from meshca.providers.api import CrossSigns, KeyPair, RootRequest, SignerRequest
from meshca.providers.builtin import BuiltinProvider, run_key_work
from tests.fakes import pki
from tests.fakes.pki import DAY, NOW


def root_request(text: str = "ECDSA 256") -> RootRequest:
    return RootRequest(
        configuration="default", trust_domain=pki.TRUST_DOMAIN, key=pki.spec(text), ttl=3650 * DAY, now=NOW
    )


def signer_request(text: str = "ECDSA 256") -> SignerRequest:
    return SignerRequest(
        configuration="default",
        trust_domain=pki.TRUST_DOMAIN,
        cluster_name="east",
        public_key=pki.key(text, "signer").public_key(),
        ttl=365 * DAY,
        now=NOW,
    )


@pytest.mark.parametrize("text", ["ECDSA 224", "ECDSA 384", "RSA 2048", "Ed25519"])
async def test_036_root_and_signer_of_every_kind_of_key(text: str) -> None:
    provider = BuiltinProvider()
    root = await provider.make_root(root_request(text))
    assert keys.spec_of(root.key.public_key()) == pki.spec(text)
    assert keys.matches(root.key, root.certificate)
    signer = await provider.sign_signer(root, signer_request(text))
    assert chain.verify(signer, [], [root.certificate], at=NOW) == [signer, root.certificate]
    assert certificates.path_length_of(signer) == 0


async def test_two_roots_are_never_the_same() -> None:
    provider = BuiltinProvider()
    one, other = await provider.make_root(root_request()), await provider.make_root(root_request())
    assert one.certificate.serial_number != other.certificate.serial_number
    assert one.key.public_key() != other.key.public_key()


async def test_signer_ends_with_its_root() -> None:
    provider = BuiltinProvider()
    pair = pki.authority()
    short = pki.make_root(pair.root_key, ttl=30 * DAY)
    signer = await provider.sign_signer(KeyPair(short, pair.root_key), signer_request())
    assert signer.not_valid_after_utc == short.not_valid_after_utc


async def test_key_that_is_not_the_roots_signs_nothing() -> None:
    pair = pki.authority()
    with pytest.raises(InvalidError):
        await BuiltinProvider().sign_signer(KeyPair(pair.root, pair.signer_key), signer_request())


async def test_builtin_provider_cross_signs() -> None:
    provider = BuiltinProvider()
    assert isinstance(provider, CrossSigns)
    old, new = pki.authority(), pki.authority(name=" new")
    crossed = await provider.cross_sign(KeyPair(old.root, old.root_key), new.root, NOW)
    assert chain.verify(new.signer, [crossed], [old.root], at=NOW)[-1] == old.root


@pytest.mark.parametrize(("text", "aside"), [("RSA 2048", True), ("ECDSA 256", False), ("Ed25519", False)])
async def test_slow_keys_work_aside_so_that_the_loop_goes_on(text: str, aside: bool) -> None:
    thread = await run_key_work(pki.spec(text), threading.get_ident)
    assert (thread != threading.get_ident()) == aside
    await asyncio.sleep(0)


def test_i5_key_pair_shows_no_key() -> None:
    pair = pki.authority()
    shown = repr(KeyPair(pair.root, pair.root_key))
    assert shown.startswith("KeyPair(")
    assert "PRIVATE" not in shown
