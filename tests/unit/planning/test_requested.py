"""126: which certificate of the primary is adopted, and why another one is not."""

from __future__ import annotations

import base64
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from meshca.errors import InvalidError
from meshca.pki import certificates, csr, issuance, keys
from meshca.pki.identity import TrustDomain
from meshca.pki.profile import SignerProfile
from meshca.pki.request import signer_request
from meshca.planning.ca import Root
from meshca.planning.primary import Answer
from meshca.planning.requested import RequestedKey, judge, read_requested
from tests.fakes import pki
from tests.fakes.caworld import key_secret
from tests.fakes.pki import NOW
from tests.fakes.planning import meta

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshca.planning.requested import Verdict

HOUR = timedelta(hours=1)
KEY = pki.key(name="asked for")
OTHER = pki.key(name="another")
ROOT_KEY = pki.key(name="root of the primary")
ROOT = pki.make_root(ROOT_KEY, now=NOW)
SECOND = pki.make_root(pki.key(name="second root"), now=NOW)


def root(certificate: x509.Certificate = ROOT) -> Root:
    return Root(
        meta=meta("default-root", ""),
        certificate=certificate,
        facts=certificates.facts(certificate),
        pem=certificates.to_pem(certificate),
        source="Mirrored",
        key_secret="",
        base="",
        renewal=0,
        activated_at=None,
        rotated_out_at=None,
        prunable_after=None,
        largest_leaf_ttl=None,
    )


@cache
def asked() -> RequestedKey:
    text = signer_request(KEY, trust_domain=pki.TRUST_DOMAIN, name="default west")
    at = meta("meshca-signer-default-1", "meshca-system", created=NOW)
    return RequestedKey(at, text, KEY.public_key(), keys.subject_key_id(KEY.public_key()).hex())


def signed(now: Any = NOW, ttl: timedelta = 90 * pki.DAY, key: Any = KEY) -> x509.Certificate:
    return issuance.signer_certificate(
        key.public_key(),
        issuer_cert=ROOT,
        issuer_key=ROOT_KEY,
        trust_domain=pki.TRUST_DOMAIN,
        configuration="default",
        cluster_name="west",
        profile=SignerProfile(ttl),
        now=now,
    )


def verdict(certificate: x509.Certificate | str, *, present: Any = None, now: Any = NOW) -> Verdict:
    chain = certificate if isinstance(certificate, str) else certificates.to_pem(certificate)
    found = judge(
        asked(),
        Answer("west-1", "Issued", "", chain),
        root(),
        key_secret(present, "meshca-signer-default-0") if present is not None else None,
        trust_domain=pki.TRUST_DOMAIN,
        now=now,
    )
    assert found is not None
    return found


def test_126_the_certificate_that_was_asked_for_is_adopted() -> None:
    found = signed()
    assert verdict(found).certificate == found
    assert verdict(certificates.to_pem(found, ROOT)).certificate == found


def crafted(kind: type[x509.ExtensionType], value: x509.ExtensionType) -> x509.Certificate:
    """Return a signer that differs from a right one in one extension."""
    right = signed()
    extensions = {type(found.value): (found.value, found.critical) for found in right.extensions}
    extensions[kind] = (value, extensions[kind][1])
    return pki.craft(KEY.public_key(), ROOT_KEY, extensions, subject="west", issuer=ROOT.subject)


def foreign() -> x509.Certificate:
    domain = TrustDomain.parse("other.org")
    key = pki.key(name="foreign")
    other = pki.make_root(key, now=NOW, trust_domain=domain)
    return issuance.signer_certificate(
        KEY.public_key(),
        issuer_cert=other,
        issuer_key=key,
        trust_domain=domain,
        configuration="default",
        cluster_name="west",
        profile=SignerProfile(HOUR * 10),
        now=NOW,
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(lambda: signed(key=OTHER), "it is about another key", id="wrong key"),
        pytest.param(
            lambda: crafted(x509.BasicConstraints, x509.BasicConstraints(ca=False, path_length=None)),
            "it is not a CA certificate",
            id="not a CA",
        ),
        pytest.param(
            lambda: crafted(x509.BasicConstraints, x509.BasicConstraints(ca=True, path_length=1)),
            "pathLen must be 0",
            id="pathLen 1",
        ),
        pytest.param(
            lambda: crafted(
                x509.SubjectAlternativeName,
                x509.SubjectAlternativeName([pki.uri("spiffe://other.org")]),
            ),
            "the URI must be the trust domain's",
            id="wrong URI",
        ),
        pytest.param(lambda: "no PEM", "PEM", id="no PEM"),
        pytest.param(lambda: signed(now=NOW + 2 * HOUR), "it is not valid yet", id="not valid yet"),
        pytest.param(lambda: signed(now=NOW - 100 * pki.DAY, ttl=4 * HOUR), "it has expired", id="expired"),
    ],
)
def test_126_another_certificate_is_refused(make: Callable[[], Any], said: str) -> None:
    found = verdict(make())
    assert found.certificate is None
    assert said in found.message
    assert found.reason == "PrimaryMismatch"
    assert found.again == NOW + timedelta(minutes=10)


@pytest.mark.parametrize(
    "make",
    [pytest.param(foreign, id="another trust domain"), pytest.param(lambda: SECOND, id="another root")],
)
def test_126_a_certificate_that_is_not_under_the_given_root_is_asked_for_anew(
    make: Callable[[], x509.Certificate],
) -> None:
    found = verdict(make())
    assert found.certificate is None
    assert "is not under the root that is active there" in found.message
    assert (found.reason, found.again) == ("", NOW + timedelta(minutes=1))


@pytest.mark.parametrize(
    ("later", "ttl", "said"),
    [
        (timedelta(0), 90 * pki.DAY, "it begins before the signer in use"),
        (HOUR, 80 * pki.DAY, "it ends before the signer in use"),
        (HOUR, 90 * pki.DAY, ""),
        # It ends with the same root.
        (HOUR, 90 * pki.DAY - HOUR, ""),
    ],
)
def test_210_a_signer_that_is_worth_less_than_the_present_one_is_refused(
    later: timedelta, ttl: timedelta, said: str
) -> None:
    found = verdict(signed(now=NOW + later, ttl=ttl), present=signed(key=OTHER), now=NOW + later)
    assert said in found.message
    assert bool(said) == (found.certificate is None)


def test_there_is_nothing_to_decide_before_there_is_an_answer() -> None:
    more: Any = {"trust_domain": pki.TRUST_DOMAIN, "now": NOW}
    assert judge(asked(), None, root(), None, **more) is None
    assert judge(asked(), Answer("west-1"), root(), None, **more) is None


def secret(**entries: str) -> dict[str, Any]:
    data = {"tls.key": keys.to_pem(KEY).decode(), "tls.csr": asked().request} | entries
    return {
        "metadata": {"name": "meshca-signer-default-1", "uid": "1"},
        "data": {name: base64.b64encode(text.encode()).decode() for name, text in data.items() if text},
    }


def test_a_key_is_read_with_its_request() -> None:
    found = read_requested(secret())
    assert (found.problem, found.request, found.public_key) == ("", asked().request, KEY.public_key())
    assert found.subject_key_id == asked().subject_key_id
    assert "PRIVATE" not in repr(found)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"tls.key": ""}, "entry 'tls.key' is missing"),
        ({"tls.key": "x"}, "the private key is not"),
        ({"tls.csr": ""}, "entry 'tls.csr' is missing"),
        ({"tls.csr": "x"}, "certificate request"),
        ({"tls.key": keys.to_pem(OTHER).decode()}, "its key does not belong to its request"),
    ],
)
def test_a_broken_one_says_what_is_wrong(entries: dict[str, str], said: str) -> None:
    found = read_requested(secret(**entries))
    assert said in found.problem
    assert (found.request, found.public_key) == ("", None)


def test_a_request_asks_for_the_trust_domain_and_nothing_else() -> None:
    found = csr.parse(signer_request(KEY, trust_domain=pki.TRUST_DOMAIN, name="x" * 200), keys=keys.CA_KEYS)
    assert found.uris == ("spiffe://example.org",)
    assert (found.dns_names, found.ip_addresses, found.wants_ca) == ((), (), False)
    for kind in ("RSA 2048", "Ed25519", "ECDSA 224"):
        text = signer_request(pki.key(kind), trust_domain=pki.TRUST_DOMAIN, name="west")
        assert csr.parse(text, keys=keys.CA_KEYS).key_spec == pki.spec(kind)
    with pytest.raises(InvalidError):
        signer_request(pki.key("RSA 1024"), trust_domain=pki.TRUST_DOMAIN, name="west")
