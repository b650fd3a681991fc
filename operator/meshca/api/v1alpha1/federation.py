"""IntermediateCertificateRequest and FederatedCluster: how a secondary joins, asks and reports.

Decides nothing; both kinds live in the primary.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from meshca.api import names
from meshca.api.v1alpha1.base import Model, StatusModel
from meshca.api.v1alpha1.leaf import Csr
from meshca.api.v1alpha1.metadata import Object, Status
from meshca.api.v1alpha1.scalars import Chain, ClusterName, ConfigurationName, Duration, NamespaceName, Time

UserName = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class IntermediateCertificateRequestSpec(Model):
    """What a secondary asks for. Immutable."""

    cluster_name: ClusterName = Field(description="Name of the secondary.")
    ca_configuration_name: ConfigurationName = Field(
        default="default", description="CAConfiguration of the primary that is asked."
    )
    request: Csr = Field(
        description="PKCS #10 request for the secondary's signer, PEM, at most 16384 bytes; its only name is"
        " spiffe:// and the trust domain."
    )
    requester: UserName | None = Field(
        default=None,
        description="User who asked: the caller, and requester.username of the FederatedCluster. Filled in by"
        " admission where the API server has MutatingAdmissionPolicy.",
    )


class IntermediateCertificateRequestStatus(Status):
    """What was granted."""

    certificate_chain: Chain = Field(default="", description="The signer and its cross-certificates, PEM.")
    root: str = Field(default="", description="CARoot under which it was issued.")
    not_after: Time | None = Field(default=None, description="When the signer expires.")


class IntermediateCertificateRequest(Object):
    """A secondary's request for a signer certificate."""

    resource = names.INTERMEDIATE

    spec: IntermediateCertificateRequestSpec
    status: IntermediateCertificateRequestStatus = Field(default_factory=IntermediateCertificateRequestStatus)


class FederatedRequester(Model):
    """Who speaks for a secondary."""

    username: UserName = Field(description="User name, such as system:serviceaccount:meshca-fed-west:meshca.")


class FederatedClusterSpec(Model):
    """A secondary, as the primary knows it."""

    cluster_name: ClusterName = Field(
        description="Name of the secondary, the same as metadata.name. Immutable."
    )
    ca_configuration_name: ConfigurationName = Field(
        default="default", description="CAConfiguration of the primary that it shares. Immutable."
    )
    namespace: NamespaceName = Field(description="Namespace where it makes its requests. Immutable.")
    requester: FederatedRequester = Field(description="Who speaks for it.")
    max_intermediate_ttl: Duration | None = Field(
        default=None, description="Longest life of its signers, at least 3h. Default: intermediate.ttl."
    )


class LeavesUnderRoot(StatusModel):
    """Leaves of a secondary that need one root."""

    root: str = Field(default="", description="SHA-256 fingerprint of the root.")
    leaves: int = Field(default=0, ge=0, description="Live leaves under it.")
    last_not_after: Time | None = Field(default=None, description="When the last of them expires.")


class FederatedClusterStatus(Status):
    """What that secondary last reported, and what the primary makes of it."""

    reporter: Annotated[str, StringConstraints(max_length=64)] = Field(
        default="",
        description="uid of the CAConfiguration that reports: a second cluster under this name has another.",
    )
    bundle_digest: str = Field(default="", description="Digest of the bundle that its targets hold.")
    roots: tuple[str, ...] = Field(
        default=(), max_length=16, description="SHA-256 fingerprints of the roots that all its targets hold."
    )
    active_root: str = Field(default="", description="Fingerprint of the root it issues under.")
    signer_not_after: Time | None = Field(default=None, description="When its signer expires.")
    leaves: tuple[LeavesUnderRoot, ...] = Field(
        default=(), max_length=16, description="Leaves left, by root."
    )
    last_seen: Time | None = Field(default=None, description="When it last reported.")
    intermediate_ttl: Duration | None = Field(
        default=None, description="Life that its next signer gets: the wish, or what the root has left."
    )


class FederatedCluster(Object):
    """A secondary cluster that is registered with this primary."""

    resource = names.FEDERATED_CLUSTER

    spec: FederatedClusterSpec
    status: FederatedClusterStatus = Field(default_factory=FederatedClusterStatus)
