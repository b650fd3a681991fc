"""The search for leaked keys finds each of them in every form, and nothing in what is public."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from e2e import roots, secrecy, workload
from tests.fakes.pki import rfc8410_key

KEYS: dict[str, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey] = {
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "P-521": ec.generate_private_key(ec.SECP521R1()),
    "P-224": ec.generate_private_key(ec.SECP224R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    "RSA": rsa.generate_private_key(public_exponent=65537, key_size=2048),
}


def pem(name: str, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    return KEYS[name].private_bytes(Encoding.PEM, form, NoEncryption())


def body(text: bytes) -> str:
    """Return a PEM text without the lines that say what it is."""
    return "\n".join(text.decode().splitlines()[1:-1])


@pytest.mark.parametrize("prefix", ["", "x", "xy", '{"message":"', "said: "])
@pytest.mark.parametrize("name", KEYS)
def test_226_a_key_is_found_in_every_form_wherever_it_begins(name: str, prefix: str) -> None:
    text = pem(name)
    formats = [text]
    if name != "Ed25519":
        formats.append(pem(name, PrivateFormat.TraditionalOpenSSL))
    secret = secrecy.private_bytes(text)
    leaks = [
        secret.hex(),
        secret.hex().upper(),
        secret.hex(":"),
        str(int.from_bytes(secret, "big")),
        base64.b64encode(secret).decode(),
        base64.b64encode(prefix.encode() + secret).decode(),
    ]
    for each in formats:
        der = base64.b64decode(body(each))
        leaks += [
            each.decode(),
            body(each),
            json.dumps(json.dumps(body(each))),
            base64.b64encode(each).decode(),
            base64.b64encode(prefix.encode() + body(each).encode()).decode(),
            base64.b64encode(b"x" + body(each).replace("\n", "").encode()).decode(),
            der.hex(),
        ]
    search = secrecy.Search([text])
    for leak in leaks:
        assert search.finds(f"{prefix}{leak}"), leak
        assert search.finds(f"{leak} and more"), leak


@pytest.mark.parametrize("name", KEYS)
def test_half_a_key_is_found_too(name: str) -> None:
    """Errors and logs are cut off."""
    lines = body(pem(name)).splitlines()
    whole = "".join(lines)
    assert secrecy.Search([pem(name)]).finds(whole[: len(whole) * 3 // 4])


@pytest.mark.parametrize("name", KEYS)
def test_what_is_public_is_no_leak(name: str) -> None:
    public = load_pem_private_key(pem(name), None).public_key()
    text = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    others = [pem(other) for other in KEYS if other != name]
    assert not secrecy.Search([pem(name)]).finds(text)
    assert not secrecy.Search(others).finds(body(pem(name)))
    # The same text again is not looked at again, and says the same.
    search = secrecy.Search([pem(name)])
    for _ in range(2):
        assert not search.finds(f"{text} {text}")
        assert search.finds(body(pem(name)))


def test_a_text_that_says_it_holds_a_key_is_a_leak_whatever_the_key() -> None:
    assert secrecy.Search([]).finds("-----BEGIN EC PRIVATE KEY-----")


def test_what_the_harness_makes_is_known() -> None:
    before = secrecy.made()
    request, (_, key) = workload.csr(), roots.root()
    assert secrecy.made() - before == {request.key, key}
    with pytest.raises(ValueError, match="PEM"):
        secrecy.needles(b"no key")
    with pytest.raises(ValueError, match="no key"):
        secrecy.needles(rfc8410_key(112, b"x" * 31))
