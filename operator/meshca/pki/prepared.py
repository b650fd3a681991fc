"""Prepared content and its one signature: what is signed is what was linted.

*Prepare* has a template signed by a throw-away key with the signer's algorithm, and the certificate that
comes out is linted. *Issue* takes the to-be-signed bytes out of that very certificate and has the CA's key
sign them, byte for byte; the CA's key never touches anything else. Signing twice costs 0.06 ms for ECDSA,
which buys that no certificate that fails its lint ever exists. The few bytes of DER around a signature
are put together by hand: the library signs only what it builds itself, and would build it anew.
"""

from __future__ import annotations

from typing import Final

from cryptography import x509

from meshca.errors import InvalidError
from meshca.pki.certificates import to_der
from meshca.pki.keys import PrivateKey, PublicKey, same_key
from meshca.pki.signatures import hash_for, sign, throw_away

_SEQUENCE: Final = 0x30
_BIT_STRING: Final = 0x03
_LONG_FORM: Final = 0x80


class Prepared:
    """The linted to-be-signed content of one certificate, for one signature by one key."""

    __slots__ = ("_draft", "_signer")

    def __init__(self, builder: x509.CertificateBuilder, signer: PublicKey) -> None:
        self._signer = signer
        self._draft = [builder.sign(throw_away(signer), hash_for(signer))]

    @property
    def draft(self) -> x509.Certificate:
        """Return the content under a worthless signature, for the lint; ``InvalidError`` once issued."""
        return self._one(list(self._draft))

    def take(self, signer_key: PrivateKey) -> x509.Certificate:
        """Hand out the draft for the only time; ``InvalidError`` for a second call or a foreign key."""
        if not same_key(signer_key.public_key(), self._signer):
            raise InvalidError("the signing key does not belong to the issuer that this was prepared for")
        return self._one(self._draft)

    @staticmethod
    def _one(drafts: list[x509.Certificate]) -> x509.Certificate:
        try:
            # Taking it off is one step, so two threads cannot both have it.
            return drafts.pop()
        except IndexError:
            raise InvalidError("this certificate was issued already") from None


def issue(prepared: Prepared, signer_key: PrivateKey) -> x509.Certificate:
    """Sign what was prepared; ``InvalidError`` when it was issued before or the key is not the issuer's.

    Takes milliseconds with an RSA key, and a fraction of one otherwise.
    """
    draft = prepared.take(signer_key)
    content = draft.tbs_certificate_bytes
    signature = sign(signer_key, content)
    return x509.load_der_x509_certificate(
        tlv(_SEQUENCE, content + _algorithm(draft, content) + tlv(_BIT_STRING, b"\x00" + signature))
    )


def tlv(tag: int, content: bytes) -> bytes:
    """Write one DER element with a low tag number (X.690 sections 8.1 and 10.1)."""
    size = len(content)
    if size < _LONG_FORM:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, _LONG_FORM | len(length))) + length + content


def _algorithm(draft: x509.Certificate, content: bytes) -> bytes:
    der = to_der(draft)
    # SEQUENCE { content, AlgorithmIdentifier, BIT STRING }: the identifier is always short.
    start = der.index(content) + len(content)
    return der[start : start + 2 + der[start + 1]]
