"""What the library under this package raises for bytes that are not what they should be.

Decides which errors mean "this is no such thing" in every parser here; anything else is a defect of ours
and is not caught. The bytes may come from anybody.
"""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.exceptions import InternalError, UnsupportedAlgorithm

# OpenSSL refuses some keys (an Ed25519 key of a wrong length) with an error that the library did not expect.
GARBAGE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    InternalError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
