"""CARoot: one trust anchor, its place in the life of the CA, and who still needs it.

Decides nothing; the operator writes these objects, people read them.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from meshca.api import names
from meshca.api.v1alpha1.base import Model, StatusModel
from meshca.api.v1alpha1.metadata import Object, Status
from meshca.api.v1alpha1.scalars import Chain, ConfigurationName, ObjectName, Pem, Time


class RootSource(StrEnum):
    """Where a root came from."""

    GENERATED = "Generated"
    IMPORTED = "Imported"
    PROVIDER = "Provider"
    MIRRORED = "Mirrored"


class RootState(StrEnum):
    """A root's place in its life."""

    PREPARED = "Prepared"
    PUBLISHED = "Published"
    ACTIVE = "Active"
    RETIRING = "Retiring"
    PRUNED = "Pruned"


class CARootSpec(Model):
    """What the root is."""

    ca_configuration_name: ConfigurationName = Field(description="CAConfiguration it belongs to. Immutable.")
    certificate: Pem = Field(description="The root certificate, PEM. Immutable.")
    source: RootSource = Field(description="Generated, Imported, Provider or Mirrored.")
    key_secret_name: ObjectName | None = Field(
        default=None, description="Secret in the operator's namespace with its key; absent when mirrored."
    )


class RootSigner(StatusModel):
    """The signer under this root."""

    certificate_chain: Chain = Field(
        default="", description="The signer and what follows it in a chain, PEM."
    )
    secret_name: str = Field(default="", description="Secret in the operator's namespace with its key.")
    not_after: Time | None = Field(default=None, description="When it expires.")
    renew_at: Time | None = Field(default=None, description="When it is renewed.")


class CARootStatus(Status):
    """Where the root stands."""

    state: RootState | None = Field(
        default=None, description="Prepared, Published, Active, Retiring; Pruned while it is being removed."
    )
    fingerprint: str = Field(default="", description="SHA-256 of the certificate, hex.")
    not_after: Time | None = Field(default=None, description="When the root expires.")
    cross_certificates: tuple[Pem, ...] = Field(
        default=(), max_length=16, description="This root's key signed by older roots, PEM each."
    )
    signer: RootSigner | None = Field(default=None, description="The signer under this root.")
    activated_at: Time | None = Field(default=None, description="When leaves began to be issued under it.")
    rotated_out_at: Time | None = Field(default=None, description="When another root took its place.")
    prunable_after: Time | None = Field(
        default=None, description="When it may leave the bundle at the earliest."
    )
    leaves: int = Field(default=0, ge=0, description="Live leaves that need it, once another root is active.")


class CARoot(Object):
    """A trust anchor of a CAConfiguration, written by the operator."""

    resource = names.CA_ROOT

    spec: CARootSpec
    status: CARootStatus = Field(default_factory=CARootStatus)
