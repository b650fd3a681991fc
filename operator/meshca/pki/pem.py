"""PEM text to DER blocks and back, strictly.

Hand-written because the library's loaders skip blocks of another kind without a word, take any number
of them, and hand out parsed certificates only: here a private key pasted beside a certificate is refused,
one block means one, and requests and certificates share one reader with one size cap. Explanatory text,
white space and RFC 1421 headers are dropped (RFC 7468 section 2), so equal certificates compare equal.
Never looks into the DER; texts of errors never quote the input.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from meshca.errors import InvalidError

CERTIFICATE: Final = "CERTIFICATE"
CERTIFICATE_REQUEST: Final = "CERTIFICATE REQUEST"
# RFC 7468 section 7: what older tools call the same thing.
_ALIASES: Final = {"NEW CERTIFICATE REQUEST": CERTIFICATE_REQUEST}
_BEGIN: Final = "-----BEGIN "
_END: Final = "-----END "
_DASHES: Final = "-----"
_WIDTH: Final = 64


def split(text: str | bytes, *, limit_bytes: int, label: str = CERTIFICATE) -> list[bytes]:
    """Return the DER of every block of PEM text from an untrusted user, at least one, all of one kind.

    ``InvalidError`` when the text is longer than ``limit_bytes``, holds no block, a block of another kind,
    a broken one, or a marker without its partner.
    """
    blocks: list[bytes] = []
    lines = iter(_lines(text, limit_bytes, label))
    for line in lines:
        if line.startswith(_END):
            raise InvalidError(f"PEM: an END marker of a {label} block has no BEGIN")
        if line.startswith(_BEGIN):
            _check_label(line, label)
            body: list[str] = []
            for inner in lines:
                if inner.startswith(_DASHES):
                    _check_end(inner, line, label)
                    break
                body.append(inner)
            else:
                raise InvalidError(f"PEM: a {label} block has no END marker")
            blocks.append(_decode(body, label))
    if not blocks:
        raise InvalidError(f"PEM: no {label} block found")
    return blocks


def split_one(text: str | bytes, *, limit_bytes: int, label: str = CERTIFICATE) -> bytes:
    """Return the DER of the only block of PEM text; ``InvalidError`` as ``split``, and for more than one."""
    blocks = split(text, limit_bytes=limit_bytes, label=label)
    if len(blocks) > 1:
        raise InvalidError(f"PEM: {len(blocks)} {label} blocks where exactly one is expected")
    return blocks[0]


def encode(*der: bytes, label: str = CERTIFICATE) -> str:
    """Write DER blocks as PEM text, 64 characters a line, with a newline at the end (RFC 7468)."""
    parts: list[str] = []
    for block in der:
        text = base64.b64encode(block).decode("ascii")
        parts.append(f"{_BEGIN}{label}{_DASHES}")
        parts.extend(text[i : i + _WIDTH] for i in range(0, len(text), _WIDTH))
        parts.append(f"{_END}{label}{_DASHES}")
    return "".join(f"{part}\n" for part in parts)


def normalise(text: str | bytes, *, limit_bytes: int, label: str = CERTIFICATE) -> str:
    """Rewrite PEM text without headers, comments and stray white space; ``InvalidError`` as ``split``."""
    return encode(*split(text, limit_bytes=limit_bytes, label=label), label=label)


def _lines(text: str | bytes, limit_bytes: int, label: str) -> list[str]:
    # Characters are counted first, so that a huge text is never copied.
    if len(text) > limit_bytes or (isinstance(text, str) and _size(text) > limit_bytes):
        raise InvalidError(f"PEM: the {label} text is longer than {limit_bytes} bytes")
    decoded = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return [line.strip(" \t\r") for line in decoded.split("\n")]


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _check_label(line: str, label: str) -> None:
    found = line.removeprefix(_BEGIN).removesuffix(_DASHES)
    if not line.endswith(_DASHES):
        raise InvalidError(f"PEM: a BEGIN marker where a {label} block was expected is broken")
    if _ALIASES.get(found, found) == label:
        return
    if "PRIVATE KEY" in found:
        raise InvalidError(f"PEM: a private key where only {label} blocks belong; remove it, it is a secret")
    raise InvalidError(f"PEM: a block of another kind where only {label} blocks are allowed")


def _check_end(line: str, begin: str, label: str) -> None:
    if line != begin.replace(_BEGIN, _END, 1):
        raise InvalidError(f"PEM: a {label} block does not end with its own END marker")


def _decode(body: list[str], label: str) -> bytes:
    if "" in body and any(":" in line for line in body[: body.index("")]):
        body = body[body.index("") + 1 :]
    try:
        der = base64.b64decode("".join("".join(body).split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidError(f"PEM: a {label} block is not base64") from None
    if not der:
        raise InvalidError(f"PEM: a {label} block is empty")
    return der
