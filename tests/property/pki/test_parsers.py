"""No input crashes a parser with anything but a typed error."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from meshca.errors import InvalidError
from meshca.pki import certificates, chain, csr, keys, pem
from meshca.pki.bundle import Bundle
from meshca.pki.identity import SPIFFEID, PathTemplate, TrustDomain
from meshca.pki.names import DNSPattern, dns_name, parse_address, parse_network
from tests.fakes.pki import NOW, TRUST_DOMAIN, authority, imported_root, key, request, uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OURS = authority()
LEAF = OURS.leaf()
CHAIN_PEM = certificates.to_pem(LEAF, OURS.signer)
REQUEST_PEM = request(None, uri("spiffe://example.org/ns/shop/sa/web"), x509.DNSName("web"))
REQUEST_DER = pem.split_one(REQUEST_PEM, limit_bytes=10**5, label=pem.CERTIFICATE_REQUEST)
ROOT_PEM = certificates.to_pem(imported_root(key("ECDSA 256", "imported")))
KEY_PEM = keys.to_pem(key("ECDSA 256", "imported"))

# Likely alphabets, so that more than the first check is reached.
WORDS = st.sampled_from(
    [
        "spiffe://",
        "SPIFFE://",
        "td",
        "/",
        "//",
        ".",
        "..",
        "%",
        "?",
        "#",
        ":80",
        "u@",
        "{namespace}",
        "{serviceAccount}",
        "{clusterName}",
        "{",
        "}",
        "{pod}",
        "ns",
        "A",
        "ä",
        chr(0x212A),
        "*",
        "-",
        "_",
        "10.0.0.1",
        "fd00::1",
        "/8",
    ]
)
TEXTS = st.one_of(st.text(max_size=200), st.lists(WORDS, max_size=12).map("".join))
PIECES = st.sampled_from(
    [
        "-----BEGIN CERTIFICATE-----",
        "-----END CERTIFICATE-----",
        "-----BEGIN PRIVATE KEY-----",
        "-----",
        "MAMCAQE=",
        "",
        "====",
        "-----BEGIN CERTIFICATE REQUEST-----",
        "-----END CERTIFICATE REQUEST-----",
        "Proc-Type: 4",
        "ä",
        " \t",
    ]
)
PEMS = st.one_of(st.text(max_size=300), st.lists(PIECES, max_size=12).map("\n".join))


@contextlib.contextmanager
def _typed() -> Iterator[None]:
    with contextlib.suppress(InvalidError), warnings.catch_warnings():
        # The library warns about what it will refuse one day; here that counts as read.
        warnings.simplefilter("ignore")
        yield


@st.composite
def mutated(draw: st.DrawFn, original: bytes) -> bytes:
    """Bend some bytes, cut something out or put something in."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        how = draw(st.sampled_from(["set", "cut", "insert", "double"]))
        if how == "set":
            data[at] = draw(st.integers(0, 255))
        elif how == "cut":
            del data[at : at + draw(st.integers(1, 8))]
        elif how == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 32))]
        if not data:
            return b"0"
    return bytes(data)


@pytest.mark.parametrize(
    "parse",
    [
        TrustDomain.parse,
        SPIFFEID.parse,
        PathTemplate.parse,
        DNSPattern.parse,
        dns_name,
        parse_network,
        parse_address,
        lambda text: SPIFFEID.parse("spiffe://td/x").matches(text),
        lambda text: DNSPattern.parse("*.td").allows(
            text, namespace=text, service_account=text, cluster_name=text
        ),
        lambda text: PathTemplate.parse("/{namespace}/{serviceAccount}").render(
            TRUST_DOMAIN, namespace=text, service_account=text, cluster_name=text
        ),
        keys.KeySpec.of,
    ],
    ids=[
        "domain",
        "id",
        "template",
        "pattern",
        "dns",
        "network",
        "address",
        "match",
        "allow",
        "render",
        "spec",
    ],
)
@given(text=TEXTS)
def test_names(parse: Callable[[str], object], text: str) -> None:
    with _typed():
        parse(text)


@pytest.mark.parametrize(
    "parse",
    [
        csr.parse,
        lambda text: pem.normalise(text, limit_bytes=1000),
        lambda text: pem.split_one(text, limit_bytes=1000),
        certificates.load_all,
        certificates.load_one,
        chain.chain_facts,
        Bundle.parse,
        lambda text: chain.check_imported_root(text, text, now=NOW, trust_domain=None),
        lambda text: chain.check_imported_root(ROOT_PEM, text, now=NOW, trust_domain=None),
    ],
    ids=["csr", "normalise", "one", "certificates", "certificate", "chain", "bundle", "root", "root key"],
)
@given(text=st.one_of(PEMS, PEMS.map(lambda text: text.encode("utf-8", "replace")), st.binary(max_size=100)))
def test_pem_texts(parse: Callable[[str | bytes], object], text: str | bytes) -> None:
    with _typed():
        parse(text)


@given(der=mutated(REQUEST_DER))
def test_bent_requests(der: bytes) -> None:
    with _typed():
        found = csr.parse(pem.encode(der, label=pem.CERTIFICATE_REQUEST))
        # The signature covers all that counts, so what still parses is what was signed.
        assert found == csr.parse(REQUEST_PEM)


@given(der=mutated(certificates.to_der(LEAF)))
def test_bent_leaves(der: bytes) -> None:
    with _typed():
        found = chain.chain_facts(pem.encode(der, certificates.to_der(OURS.signer)))
        assert found.certificates[0].tbs_certificate_bytes == LEAF.tbs_certificate_bytes


@given(der=mutated(certificates.to_der(OURS.signer)))
def test_bent_signers_are_never_trusted(der: bytes) -> None:
    with _typed():
        found = chain.verify(LEAF, [certificates.load(der)], [OURS.root], at=NOW)
        assert found[1].tbs_certificate_bytes == OURS.signer.tbs_certificate_bytes


@given(der=mutated(certificates.to_der(imported_root(key("ECDSA 256", "imported")))))
def test_bent_roots(der: bytes) -> None:
    with _typed():
        found: Any = chain.check_imported_root(pem.encode(der), KEY_PEM, now=NOW, trust_domain=None)
        assert keys.matches(found[1], found[0])


@given(text=mutated(KEY_PEM))
def test_226_bent_private_keys_are_never_quoted(text: bytes) -> None:
    shown = ""
    try:
        keys.load_private(text)
    except InvalidError as error:
        shown = error.message
    body = b"".join(text.splitlines()[1:-1]).decode("latin-1")
    assert not any(body[at : at + 12] in shown for at in range(0, max(0, len(body) - 12), 4))


@given(blocks=st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=5))
def test_what_was_encoded_comes_back(blocks: list[bytes]) -> None:
    text = pem.encode(*blocks)
    assert pem.split(text, limit_bytes=10_000) == blocks
    assert pem.normalise(text.replace("\n", "\r\n"), limit_bytes=10_000) == text
