"""LeafCertificateRequest: a workload's wish for a certificate, and the certificate.

Decides which wishes are well-formed; which name is granted is policy, decided elsewhere. Everything
in a spec comes from an untrusted user.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from meshca.api import names
from meshca.api.v1alpha1.base import Model
from meshca.api.v1alpha1.keys import LeafPrivateKey
from meshca.api.v1alpha1.metadata import Object, Status
from meshca.api.v1alpha1.scalars import (
    DNS_SUBDOMAIN,
    Chain,
    ConfigurationName,
    Duration,
    ObjectName,
    Time,
    format_duration,
)

REQUEST_MAX_LENGTH: Final = 16384
SHORTEST_TTL: Final = timedelta(hours=1)
LONGEST_TTL: Final = timedelta(days=365)
IP_SENTENCE: Final = "is no IPv4 or IPv6 address"
CSR_HEADERS: Final = ("-----BEGIN CERTIFICATE REQUEST-----", "-----BEGIN NEW CERTIFICATE REQUEST-----")


def check_csr_header(text: str) -> str:
    """Return the text if it holds the header of a PKCS #10 request and no key; raises ``ValueError``.

    Cheap on purpose: the request is parsed where it is judged.
    """
    if "PRIVATE KEY-----" in text:
        raise ValueError("holds a private key: treat that key as known to others, and send only the request")
    if not any(header in text for header in CSR_HEADERS):
        raise ValueError(f"is no certificate request: {CSR_HEADERS[0]} is missing")
    return text


def check_ip_address(text: str) -> str:
    """Return the text if it is an IPv4 or IPv6 address without a zone; raises ``ValueError``."""
    try:
        parsed = ip_address(text)
    except ValueError:
        raise ValueError(IP_SENTENCE) from None
    if getattr(parsed, "scope_id", None) or getattr(parsed, "ipv4_mapped", None):
        raise ValueError(IP_SENTENCE)
    return text


def check_secret_name(name: str) -> str:
    """Return the name unless it is reserved for the CA's own Secrets; raises ``ValueError``."""
    if name.startswith(names.RESERVED_SECRET_PREFIX):
        raise ValueError(f"must not start with {names.RESERVED_SECRET_PREFIX}")
    return name


Csr = Annotated[
    str, StringConstraints(min_length=1, max_length=REQUEST_MAX_LENGTH), AfterValidator(check_csr_header)
]
DnsName = Annotated[str, StringConstraints(pattern=DNS_SUBDOMAIN, min_length=1, max_length=253)]
IpAddress = Annotated[str, StringConstraints(min_length=1, max_length=45), AfterValidator(check_ip_address)]
SecretName = Annotated[ObjectName, AfterValidator(check_secret_name)]


class Renewal(StrEnum):
    """Who asks again."""

    AUTOMATIC = "Automatic"
    MANUAL = "Manual"


class LeafState(StrEnum):
    """States of a leaf."""

    PENDING = "Pending"
    ISSUED = "Issued"
    FAILED = "Failed"
    RENEW = "Renew"
    ROTATE = "Rotate"


class LeafCertificateRequestSpec(Model):
    """What is asked for. Immutable."""

    ca_configuration_name: ConfigurationName = Field(
        default="default", description="CAConfiguration that is asked."
    )
    request: Csr | None = Field(
        default=None,
        description="PKCS #10 request, PEM, at most 16384 bytes: the key stays with the workload. Either "
        "this or secretName.",
    )
    secret_name: SecretName | None = Field(
        default=None,
        description="Secret of type kubernetes.io/tls that the operator makes and keeps, key included. "
        "Either this or request.",
    )
    service_account_name: ObjectName = Field(
        description="ServiceAccount of this namespace that gets the identity."
    )
    requester: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = Field(
        default=None, description="User who asked. Filled in by admission; if given, it must be the caller."
    )
    ttl: Duration | None = Field(
        default=None,
        description="Life asked for: 1h to 8760h, at most leaf.maxTTL of the CAConfiguration. "
        "Default: its leaf.ttl.",
    )
    dns_names: tuple[DnsName, ...] = Field(
        default=(), max_length=32, description="DNS names asked for, where identity.dnsNames allows them."
    )
    ip_addresses: tuple[IpAddress, ...] = Field(
        default=(),
        max_length=32,
        description="IP addresses asked for, where identity.ipAddresses allows them.",
    )
    private_key: LeafPrivateKey | None = Field(
        default=None, description="Key to make; only with secretName. Default: ECDSA 256."
    )
    renewal: Renewal | None = Field(
        default=None,
        description="Automatic or Manual. With secretName always Automatic; with request by default Manual: "
        "the workload asks again.",
    )

    @property
    def managed(self) -> bool:
        """Tell whether the operator makes the key."""
        return self.secret_name is not None

    @property
    def automatic(self) -> bool:
        """Tell whether the operator renews without being asked."""
        return self.managed or self.renewal is Renewal.AUTOMATIC

    @property
    def effective_private_key(self) -> LeafPrivateKey:
        """Return ``privateKey``, or its default. Meaningless for a CSR leaf."""
        return self.private_key or LeafPrivateKey()

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.request is None) == (self.secret_name is None):
            count = "none" if self.request is None else "both"
            raise ValueError(f"exactly one of spec.request and spec.secretName must be set, not {count}")
        if self.private_key is not None and not self.managed:
            raise ValueError("spec.privateKey is only allowed with spec.secretName")
        if self.managed and self.renewal is Renewal.MANUAL:
            raise ValueError("spec.renewal Manual is not allowed with spec.secretName: only Automatic is")
        return self

    @model_validator(mode="after")
    def _life_within_bounds(self) -> Self:
        if self.ttl is not None and not SHORTEST_TTL <= self.ttl <= LONGEST_TTL:
            raise ValueError(
                f"spec.ttl {format_duration(self.ttl)} is outside {format_duration(SHORTEST_TTL)} to "
                f"{format_duration(LONGEST_TTL)}"
            )
        return self


class LeafCertificateRequestStatus(Status):
    """What was granted."""

    state: LeafState | None = Field(default=None, description="Pending, Issued, Failed, Renew or Rotate.")
    certificate_chain: Chain = Field(
        default="", description="Leaf, signer and, after a rotation, cross-certificates, PEM."
    )
    serial_number: str = Field(default="", description="Serial number of the leaf, hex.")
    spiffe_id: str = Field(default="", description="SPIFFE ID that was granted.")
    not_before: Time | None = Field(default=None, description="When the leaf begins.")
    not_after: Time | None = Field(default=None, description="When the leaf expires.")
    renew_at: Time | None = Field(
        default=None, description="When it is renewed, or is to be asked for again."
    )
    root: str = Field(default="", description="CARoot under which it was issued.")


class LeafCertificateRequest(Object):
    """A workload's request for an X509-SVID."""

    resource = names.LEAF

    spec: LeafCertificateRequestSpec
    status: LeafCertificateRequestStatus = Field(default_factory=LeafCertificateRequestStatus)
