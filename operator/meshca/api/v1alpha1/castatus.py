"""What a CA says of itself in the status of its CAConfiguration.

Decides nothing; planners fill it in.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from meshca.api.v1alpha1.base import StatusModel
from meshca.api.v1alpha1.metadata import Status
from meshca.api.v1alpha1.scalars import Duration, Time


class RotationPhase(StrEnum):
    """The phases of a rotation, in order."""

    PREPARE = "Prepare"
    PUBLISH = "Publish"
    ACTIVATE = "Activate"
    REISSUE = "Reissue"
    COMPLETE = "Complete"


class BundleTargets(StatusModel):
    """How far the bundle has come."""

    total: int = Field(default=0, ge=0, description="Places that are to hold the bundle.")
    current: int = Field(default=0, ge=0, description="Places that were read back holding it.")
    behind: tuple[str, ...] = Field(default=(), max_length=10, description="Up to 10 that do not.")


class BundleStatus(StatusModel):
    """The roots that peers are to trust."""

    digest: str = Field(default="", description="SHA-256 over the DER of the roots, sorted by fingerprint.")
    sequence: int = Field(default=0, ge=0, description="Rises with every change of the bundle.")
    roots: tuple[str, ...] = Field(
        default=(), max_length=16, description="SHA-256 fingerprints of the roots."
    )
    targets: BundleTargets = Field(default_factory=BundleTargets, description="How far it has come.")


class SignerStatus(StatusModel):
    """The present signer."""

    subject_key_id: str = Field(default="", description="Its key, in hex.")
    not_after: Time | None = Field(default=None, description="When it expires.")
    renew_at: Time | None = Field(default=None, description="When it is renewed.")


class RotationStatus(StatusModel):
    """A rotation and how far it has come."""

    phase: RotationPhase | None = Field(
        default=None, description="Prepare, Publish, Activate, Reissue, Complete."
    )
    from_: str = Field(default="", description="CARoot that is replaced.")
    to: str = Field(default="", description="CARoot that replaces it.")
    started_at: Time | None = Field(default=None, description="When it began.")
    deadline: Time | None = Field(default=None, description="When it is complete in any case.")
    leaves: int = Field(default=0, ge=0, description="Live leaves that were to move.")
    reissued: int = Field(default=0, ge=0, description="Leaves that have moved.")
    percent: int = Field(default=0, ge=0, le=100, description="Part of the leaves that have moved.")
    estimated_end: Time | None = Field(
        default=None, description="When the last leaf will have moved, at the present pace."
    )
    stragglers: tuple[str, ...] = Field(
        default=(), max_length=10, description="Up to 10 leaves (namespace/name: why) that have not."
    )


class FederationStatus(StatusModel):
    """What a secondary knows of its primary."""

    configuration_id: str = Field(default="", description="uid of the primary's CAConfiguration.")
    sequence: int = Field(default=0, ge=0, description="Highest bundle sequence seen of the primary.")
    active_root: str = Field(
        default="", description="SHA-256 fingerprint of the root that is active in the primary."
    )
    request: str = Field(
        default="",
        description="IntermediateCertificateRequest in the primary that is in flight, or was the last.",
    )
    intermediate_ttl: Duration | None = Field(
        default=None,
        description="Life that the primary gives to this cluster's signers.",
    )


class CAConfigurationStatus(Status):
    """What the CA says of itself."""

    trust_domain: str = Field(default="", description="Trust domain in force; never changes.")
    active_root: str = Field(default="", description="CARoot under which leaves are issued.")
    bundle: BundleStatus = Field(
        default_factory=BundleStatus, description="The roots that peers are to trust."
    )
    signer: SignerStatus | None = Field(default=None, description="The present signer.")
    rotation: RotationStatus | None = Field(default=None, description="The present or the last rotation.")
    federation: FederationStatus | None = Field(
        default=None, description="What is known of the primary; only in a secondary."
    )
