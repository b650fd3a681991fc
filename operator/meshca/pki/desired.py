"""The desired identity of a root: ten hex digits that name the one Secret and root of a wish.

Decides only the hash. It is written into object names for as long as a root lives, so what goes in and
how it is written can never change; the tests hold golden values. Lifetimes, limits and policy are left
out on purpose: a change of theirs is no rotation.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final

from meshca.pki.certificates import fingerprint

if TYPE_CHECKING:
    from cryptography import x509

    from meshca.pki.keys import KeySpec

LENGTH: Final = 10


def desired_identity(
    provider_type: str, provider_identity: str, key_spec: KeySpec, trigger: str, renewal: int
) -> str:
    """Hash what makes a generated root itself; ``renewal`` is 0 and one more for each renewal at its end."""
    return _hash([*_base(provider_type, provider_identity, key_spec, trigger), renewal])


def base_identity(provider_type: str, provider_identity: str, key_spec: KeySpec, trigger: str) -> str:
    """Hash the same without the renewal number: a wish is met when the active root has this one."""
    return _hash(_base(provider_type, provider_identity, key_spec, trigger))


def imported_identity(root: x509.Certificate) -> str:
    """Return the identity of an imported root, with or without renewal: its certificate's fingerprint."""
    return fingerprint(root)[:LENGTH]


def _base(provider_type: str, provider_identity: str, key_spec: KeySpec, trigger: str) -> list[str | int]:
    return [provider_type, provider_identity, str(key_spec.algorithm), key_spec.size, trigger]


def _hash(parts: list[str | int]) -> str:
    # A JSON list keeps neighbours apart, whatever characters they hold.
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()[:LENGTH]
