"""Which keys may be asked for, by algorithm and size.

Decides the size when none was given, and refuses a size that does not go with its algorithm.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Final, Self

from pydantic import Field, model_validator

from meshca.api.v1alpha1.base import Model


class KeyAlgorithm(StrEnum):
    """Key algorithms."""

    ECDSA = "ECDSA"
    RSA = "RSA"
    ED25519 = "Ed25519"


DEFAULT_SIZE: Final = {KeyAlgorithm.ECDSA: 256, KeyAlgorithm.RSA: 3072, KeyAlgorithm.ED25519: None}
CA_SIZES: Final = {
    KeyAlgorithm.ECDSA: (224, 256, 384, 521),
    KeyAlgorithm.RSA: (2048, 3072, 4096),
    KeyAlgorithm.ED25519: (),
}
LEAF_SIZES: Final = {
    KeyAlgorithm.ECDSA: (256, 384, 521),
    KeyAlgorithm.RSA: (2048, 3072, 4096),
    KeyAlgorithm.ED25519: (),
}


class _Key(Model):
    sizes: ClassVar[dict[KeyAlgorithm, tuple[int, ...]]]

    algorithm: KeyAlgorithm = Field(default=KeyAlgorithm.ECDSA, description="ECDSA, RSA or Ed25519.")
    size: int | None = Field(
        default=None,
        description="Bits of the key; without it 256 for ECDSA and 3072 for RSA. Absent for Ed25519.",
    )

    @property
    def effective_size(self) -> int | None:
        """Return the size in bits, the algorithm's default where none was given, None for Ed25519."""
        return self.size if self.size is not None else DEFAULT_SIZE[self.algorithm]

    @model_validator(mode="after")
    def _size_fits_algorithm(self) -> Self:
        allowed = self.sizes[self.algorithm]
        if self.size is None or self.size in allowed:
            return self
        bound = ", ".join(map(str, allowed)) or "none, leave it out"
        raise ValueError(f"size {self.size} is not allowed for {self.algorithm}: allowed are {bound}")


class PrivateKey(_Key):
    """The key of a root and of its signers."""

    sizes = CA_SIZES


class LeafPrivateKey(_Key):
    """The key that the operator makes for a managed leaf. Envoy takes neither Ed25519 nor ECDSA 521."""

    sizes = LEAF_SIZES
