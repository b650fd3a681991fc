"""Bent requests and certificates, signed again by their own key, so that no signature gives them away.

Whatever a stranger can build around a key of their own is read, or refused with a typed error, and gets no
other name than the policy gives.
"""

from __future__ import annotations

import base64
import contextlib
import warnings
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import example, given
from hypothesis import strategies as st

from meshca.errors import InvalidError
from meshca.pki import certificates, chain, csr, keys, pem
from meshca.planning.leaf import plan_leaf
from meshca.planning.secrets import encode, load_ca_secret, secret_view
from tests.fakes import planning
from tests.fakes.pki import NOW, authority, imported_root, key, request, uri
from tests.property.pki.test_parsers import mutated

if TYPE_CHECKING:
    from collections.abc import Iterator

STRANGER = key("ECDSA 256", "stranger")
assert isinstance(STRANGER, ec.EllipticCurvePrivateKey)
KEY_PEM = keys.to_pem(STRANGER)
SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
"""AlgorithmIdentifier of ecdsa-with-SHA256."""
REQUEST = x509.load_pem_x509_csr(
    request(
        STRANGER, uri("spiffe://example.org/ns/shop/sa/web"), x509.DNSName("web"), x509.DNSName("*.web")
    ).encode()
)
ROOT = imported_root(STRANGER)
OURS = authority()
LEAF = OURS.leaf(STRANGER.public_key())
SIGNER = OURS.signer.public_bytes(Encoding.DER)
SNAPSHOT_NAMES = st.lists(
    st.sampled_from(["web", "", "*", "..", "10.0.0.1", "::", "xn--a", "ä", "x" * 300]), max_size=3
).map(tuple)
TTLS = st.sampled_from(["", "0", "1h", "72h", "999999h", "-1h", "h", "1h1h", "ä"])


def signed(body: bytes) -> bytes:
    """Return the DER of a request or certificate around a body, signed by the stranger's key."""
    signature = STRANGER.sign(body, ec.ECDSA(hashes.SHA256()))  # type: ignore[call-arg, arg-type]
    return _tlv(0x30, body + SHA256 + _tlv(0x03, b"\x00" + signature))


def _tlv(tag: int, value: bytes) -> bytes:
    size = len(value)
    if size < 0x80:
        return bytes([tag, size]) + value
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + value


@contextlib.contextmanager
def _typed() -> Iterator[None]:
    with contextlib.suppress(InvalidError), warnings.catch_warnings():
        # The library warns about what it will refuse one day; here that counts as read.
        warnings.simplefilter("ignore")
        yield


def as_request(body: bytes) -> str:
    return pem.encode(signed(body), label=pem.CERTIFICATE_REQUEST)


def test_what_is_signed_again_unbent_is_read() -> None:
    assert csr.parse(as_request(REQUEST.tbs_certrequest_bytes)).dns_names == ("web", "*.web")
    certificate = certificates.load(signed(ROOT.tbs_certificate_bytes))
    assert keys.matches(STRANGER, certificate)


@example(body=REQUEST.tbs_certrequest_bytes, ttl="", dns_names=(), addresses=())
@given(
    body=mutated(REQUEST.tbs_certrequest_bytes), ttl=TTLS, dns_names=SNAPSHOT_NAMES, addresses=SNAPSHOT_NAMES
)
def test_i9_a_bent_request_that_is_signed_again_gets_no_other_name(
    body: bytes, ttl: str, dns_names: tuple[str, ...], addresses: tuple[str, ...]
) -> None:
    asks: dict[str, Any] = {
        "request": as_request(body),
        "ttl": ttl,
        "dns_names": dns_names,
        "ip_addresses": addresses,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plan = plan_leaf(planning.snapshot(planning.fresh(**asks)))
    assert plan.issue is not None or plan.report is not None
    if plan.issue is not None:
        assert plan.issue.names.spiffe_id.uri == "spiffe://example.org/ns/shop/sa/web"
        assert not plan.issue.names.dns_names
        assert not plan.issue.names.ip_addresses


@given(body=mutated(ROOT.tbs_certificate_bytes))
def test_a_bent_root_that_is_signed_again_is_refused_or_belongs_to_its_key(body: bytes) -> None:
    text = pem.encode(signed(body))
    with _typed():
        found: Any = chain.check_imported_root(text, KEY_PEM, now=NOW, trust_domain=None)
        assert keys.matches(found[1], found[0])
    secret = {"metadata": {"name": "mine"}, "data": {"tls.crt": encode(text), "tls.key": encode(KEY_PEM)}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = load_ca_secret(secret)
    assert loaded.view.usable == (loaded.key is not None)
    if loaded.key is not None and loaded.view.certificate is not None:
        assert keys.matches(loaded.key, loaded.view.certificate)
    assert "PRIVATE" not in repr(loaded)
    assert base64.b64encode(KEY_PEM).decode()[40:80] not in repr(loaded)


@given(
    leaf=mutated(LEAF.public_bytes(Encoding.DER)) | mutated(LEAF.tbs_certificate_bytes).map(signed),
    signer=st.just(OURS.signer.public_bytes(Encoding.DER)) | mutated(OURS.signer.public_bytes(Encoding.DER)),
    root=st.just(certificates.to_pem(OURS.root))
    | st.sampled_from(["", "garbage", certificates.to_pem(ROOT)]),
)
def test_a_managed_secret_with_bent_certificates_is_sound_only_if_key_and_roots_fit(
    leaf: bytes, signer: bytes, root: str
) -> None:
    data: dict[str, str | bytes] = {
        "tls.crt": pem.encode(leaf, signer),
        "tls.key": KEY_PEM,
        "ca.crt": root,
    }
    body = {"metadata": {"name": "web-tls"}, "data": {name: encode(text) for name, text in data.items()}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        view = secret_view(body)
        if view.consistent:
            found = certificates.load(leaf)
            assert keys.matches(STRANGER, found)
            assert root == certificates.to_pem(OURS.root)
            assert certificates.load(signer).tbs_certificate_bytes == OURS.signer.tbs_certificate_bytes
