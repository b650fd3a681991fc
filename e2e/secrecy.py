"""Private keys as they would read in a text, and the search for them in everything that was said.

Decides in which forms a leaked key is recognised: its PEM, the base64 of that as a Secret holds it, and its
number in hex, decimal and base64, in the middle of a text or across line breaks, escaped or not. Knows the
keys that this run made itself. Never decides where texts come from (``e2e.witness``).
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from cryptography.exceptions import InternalError
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

WINDOW = 18
"""Characters of a form that are looked for: more than anything else has in common with a key."""
STRIDE = 4
"""Only every fourth position of a text is looked at, so each form is known at four positions of its own."""
MARKER = "PRIVATE KEY-----"
BROKEN = re.compile(r"\\+[nr]|[\s:]")
"""What may stand amid a key: line breaks, as they are or escaped, and the colons of a dump."""
RUN = re.compile(rf"[A-Za-z0-9+/]{{{WINDOW},}}")

_made: set[bytes] = set()


def remember(pem: bytes) -> None:
    """Add a private key (PEM) that this run made to what may be found nowhere."""
    _made.add(pem)


def made() -> frozenset[bytes]:
    """Return the private keys (PEM) that this run made itself so far."""
    return frozenset(_made)


def private_bytes(pem: bytes) -> bytes:
    """Return what only the holder of a key (PEM) knows, as it stands in its DER."""
    return _secret(_load(pem))


def needles(pem: bytes) -> set[str]:
    """Return what gives a key (PEM) away wherever it stands; ``ValueError`` for what is no key."""
    key = _load(pem)
    secret = _secret(key)
    number = secret.hex()
    texts = {number, number.upper(), str(int.from_bytes(secret, "big"))}
    once = {text for shift in range(3) for text in _base64(secret, shift)}
    lines = {line for line in _lines(key, secret) if len(line) >= WINDOW}
    texts |= once | lines
    # A Secret's entry is the base64 of the PEM, so of each line in it.
    texts |= {again for text in once | lines for shift in range(3) for again in _base64(text.encode(), shift)}
    return {text[at : at + WINDOW] for text in texts for at in range(STRIDE) if len(text) >= at + WINDOW}


def _load(pem: bytes) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(pem, None)
    except InternalError:
        # What the library says of a key of a wrong length: a scenario writes one.
        raise ValueError("no key") from None


def _secret(key: PrivateKeyTypes) -> bytes:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.private_numbers().private_value.to_bytes((key.key_size + 7) // 8, "big")
    if isinstance(key, rsa.RSAPrivateKey):
        return key.private_numbers().q.to_bytes(key.key_size // 16, "big")
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    return key.private_bytes_raw()


def _base64(secret: bytes, shift: int) -> Iterator[str]:
    """Yield how bytes read in base64 when the first that is whole stands at ``shift``."""
    whole = len(secret[shift:]) // 3 * 3
    if whole:
        yield base64.b64encode(secret[shift : shift + whole]).decode()


def _lines(key: PrivateKeyTypes, secret: bytes) -> Iterator[str]:
    """Yield the parts of a PEM text's lines that say nothing but the secret, in each usual format."""
    formats = [PrivateFormat.PKCS8]
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        formats.append(PrivateFormat.TraditionalOpenSSL)
    for form in formats:
        place = key.private_bytes(Encoding.DER, form, NoEncryption()).index(secret)
        first, last = -(-place * 4 // 3), (place + len(secret)) * 4 // 3
        at = 0
        for line in key.private_bytes(Encoding.PEM, form, NoEncryption()).decode().splitlines()[1:-1]:
            yield line[max(0, first - at) : max(0, last - at)]
            at += len(line)


class Search:
    """Looks for keys in texts of any size; what was looked at once is not looked at again."""

    def __init__(self, keys: Iterable[bytes]) -> None:
        self._wanted = {needle for pem in keys for needle in needles(pem)}
        self._seen: set[int] = set()

    def finds(self, text: str) -> bool:
        """Tell whether a text holds a part of a key, or says that it holds one."""
        if MARKER in text:
            return True
        return any(self._in_run(found[0]) for found in RUN.finditer(BROKEN.sub("", text)))

    def _in_run(self, run: str) -> bool:
        # Certificates and bundles are said thousands of times.
        mark = hash(run)
        if mark in self._seen:
            return False
        places = range(0, len(run) - WINDOW + 1, STRIDE)
        if any(run[at : at + WINDOW] in self._wanted for at in places):
            return True
        self._seen.add(mark)
        return False
