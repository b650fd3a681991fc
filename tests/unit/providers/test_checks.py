"""What a provider returns is looked at before it is used."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshca.errors import InvalidError
from meshca.pki import keys
from meshca.pki.identity import TrustDomain
from meshca.pki.keys import KeyAlgorithm, KeySpec
from meshca.providers.api import KeyPair, RootRequest, SignerRequest
from meshca.providers.builtin import BuiltinProvider
from meshca.providers.checks import check_root, check_signer
from tests.fakes.pki import NOW

P256 = KeySpec.of(KeyAlgorithm.ECDSA)
P384 = KeySpec.of(KeyAlgorithm.ECDSA, 384)
HERE, ELSEWHERE = TrustDomain.parse("example.org"), TrustDomain.parse("elsewhere.org")
SIGNER_KEY = keys.generate(P256)


def root_request(*, trust_domain: TrustDomain = HERE, key: KeySpec = P256) -> RootRequest:
    return RootRequest("default", trust_domain, key, timedelta(days=3650), NOW)


def signer_request(*, trust_domain: TrustDomain = HERE) -> SignerRequest:
    return SignerRequest(
        configuration="default",
        trust_domain=trust_domain,
        cluster_name="default",
        public_key=SIGNER_KEY.public_key(),
        ttl=timedelta(days=365),
        now=NOW,
    )


async def made(request: RootRequest | None = None) -> KeyPair:
    return await BuiltinProvider().make_root(request or root_request())


async def test_what_was_asked_for_passes() -> None:
    pair = check_root(await made(), root_request())
    signer = await BuiltinProvider().sign_signer(pair, signer_request())
    assert check_signer(signer, pair, signer_request()) is signer


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (root_request(trust_domain=ELSEWHERE), "must be the trust domain's"),
        (root_request(key=P384), "asked for was ECDSA 256"),
    ],
    ids=["trust domain", "key"],
)
async def test_another_root_than_asked_for_is_refused(wrong: RootRequest, text: str) -> None:
    with pytest.raises(InvalidError, match=text):
        check_root(await made(wrong), root_request())


async def test_a_root_with_a_foreign_key_is_refused() -> None:
    pair = await made()
    with pytest.raises(InvalidError, match="does not belong to its key"):
        check_root(KeyPair(pair.certificate, SIGNER_KEY), root_request())


async def test_a_root_is_no_signer() -> None:
    pair = await made()
    with pytest.raises(InvalidError):
        check_signer(pair.certificate, pair, signer_request())


async def test_a_signer_for_another_key_is_refused() -> None:
    pair = await made()
    signer = await BuiltinProvider().sign_signer(pair, signer_request())
    other = keys.generate(P256).public_key()
    request = SignerRequest("default", HERE, "default", other, timedelta(days=365), NOW)
    with pytest.raises(InvalidError, match="another key"):
        check_signer(signer, pair, request)


async def test_a_signer_under_another_root_is_refused() -> None:
    pair, other = await made(), await made()
    signer = await BuiltinProvider().sign_signer(other, signer_request())
    with pytest.raises(InvalidError):
        check_signer(signer, pair, signer_request())
