"""CAConfiguration: what a platform team wishes its CA to be.

Decides which wishes are well-formed and within bounds; never what is done about them. Defaults of
``provider``, ``root`` and ``rotation`` are here but not in the CRD, because a secondary must leave
those blocks absent: ``None`` means absent.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, ClassVar, Final, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from meshca.api import names
from meshca.api.v1alpha1.base import Model
from meshca.api.v1alpha1.castatus import CAConfigurationStatus
from meshca.api.v1alpha1.identity import Identity
from meshca.api.v1alpha1.keys import PrivateKey
from meshca.api.v1alpha1.metadata import Object
from meshca.api.v1alpha1.scalars import (
    TRUST_DOMAIN,
    ClusterName,
    ConfigurationName,
    Duration,
    Fingerprint,
    ObjectName,
    format_duration,
)
from meshca.api.v1alpha1.selector import Selector

HOUR: Final = timedelta(hours=1)
SHORTEST_LEAF: Final = HOUR
LONGEST_LEAF: Final = timedelta(days=365)
SHORTEST_INTERMEDIATE: Final = 3 * HOUR
INTERMEDIATE_PER_LEAF: Final = 3
DEFAULT_ROOT_TTL: Final = timedelta(hours=87600)
DEFAULT_INTERMEDIATE_TTL: Final = timedelta(hours=8760)
DEFAULT_LEAF_TTL: Final = timedelta(hours=72)
DEFAULT_TRUST_BUNDLE: Final = "meshca-trust-bundle"

SYSTEM_BUNDLE: Final = "kube-root-ca.crt"
SYSTEM_BUNDLE_SENTENCE: Final = f"{SYSTEM_BUNDLE} belongs to Kubernetes: choose another name"


def _check_bundle_name(name: str) -> str:
    if name == SYSTEM_BUNDLE:
        raise ValueError(SYSTEM_BUNDLE_SENTENCE)
    return name


TrustDomain = Annotated[str, StringConstraints(pattern=TRUST_DOMAIN, min_length=1, max_length=255)]
BundleName = Annotated[ObjectName, AfterValidator(_check_bundle_name)]
Trigger = Annotated[str, StringConstraints(max_length=253)]


def _within(field: str, value: timedelta, lowest: timedelta | None, highest: timedelta | None) -> None:
    if lowest is not None and value < lowest:
        raise ValueError(f"{field} {format_duration(value)} is below the minimum {format_duration(lowest)}")
    if highest is not None and value > highest:
        raise ValueError(f"{field} {format_duration(value)} is above the maximum {format_duration(highest)}")


class ProviderType(StrEnum):
    """Who holds the root's key."""

    BUILTIN = "Builtin"


class BuiltinProvider(Model):
    """Settings of the built-in provider, which keeps keys in Secrets."""

    defaults_in_schema: ClassVar[bool] = False

    root_secret_name: ObjectName | None = Field(
        default=None,
        description="Secret (tls.crt, tls.key) in the operator's namespace with a root of your own. "
        "Without it a root is generated.",
    )


class Provider(Model):
    """Where the root's key lives."""

    defaults_in_schema: ClassVar[bool] = False

    type: ProviderType = Field(default=ProviderType.BUILTIN, description="Builtin. Default: Builtin.")
    builtin: BuiltinProvider | None = Field(default=None, description="Settings of the provider Builtin.")


class Root(Model):
    """The life of a generated root."""

    defaults_in_schema: ClassVar[bool] = False

    ttl: Duration = Field(
        default=DEFAULT_ROOT_TTL,
        description="Life of a root, at least that of an intermediate. Default: 87600h.",
    )
    renew_before: Duration | None = Field(
        default=None,
        description="How long before its end a generated root is rotated. Default: a fifth of its own life.",
    )

    @property
    def effective_renew_before(self) -> timedelta:
        """Return ``renewBefore``, or a fifth of the life, in whole seconds."""
        return self.renew_before if self.renew_before is not None else self.ttl // 5

    @model_validator(mode="after")
    def _renewed_while_alive(self) -> Self:
        if self.renew_before is not None and self.renew_before >= self.ttl:
            raise ValueError(
                f"spec.root.renewBefore {format_duration(self.renew_before)} is not below spec.root.ttl "
                f"{format_duration(self.ttl)}"
            )
        return self


class Intermediate(Model):
    """The life of the signers."""

    ttl: Duration = Field(
        default=DEFAULT_INTERMEDIATE_TTL,
        description="Life of a signer: at least 3h and at least three times leaf.maxTTL.",
    )


class Leaf(Model):
    """The life of workload certificates."""

    ttl: Duration = Field(
        default=DEFAULT_LEAF_TTL, description="Life of a leaf that asks for none: 1h to 8760h (365 days)."
    )
    max_ttl: Duration = Field(
        default_factory=lambda data: data["ttl"],
        description="Longest life that a request may ask for: ttl to 8760h. Default: ttl.",
    )

    @model_validator(mode="after")
    def _within_bounds(self) -> Self:
        _within("spec.leaf.ttl", self.ttl, SHORTEST_LEAF, LONGEST_LEAF)
        _within("spec.leaf.maxTTL", self.max_ttl, self.ttl, LONGEST_LEAF)
        return self


class Limits(Model):
    """How fast leaves are signed. What is over the limit waits; nothing is dropped."""

    csr_max_per_second: float = Field(
        default=0, ge=0, le=100000, description="Signatures per second, fractions allowed; 0 = no limit."
    )
    csr_max_concurrent: int = Field(
        default=0,
        ge=0,
        le=10000,
        description="Signatures in progress at once; 0 = no limit. Ignored while csrMaxPerSecond is set.",
    )


class Rotation(Model):
    """How a root is replaced."""

    defaults_in_schema: ClassVar[bool] = False

    trigger: Trigger = Field(
        default="", description="Any text. A change of it asks for a new root. Default: empty."
    )
    force_without_cross_signing: Trigger = Field(
        default="",
        description="Repeat the new trigger here to permit, for this rotation only, a root that the old one "
        "cannot cross-sign. Default: empty.",
    )
    minimum_publish_time: Duration | None = Field(
        default=None,
        description="Least time between publishing a new root and using it. Default: 0s with "
        "cross-certificates, 5m without.",
    )
    reissue_per_second: float = Field(
        default=50, gt=0, le=10000, description="Leaves moved to the new root per second. Default: 50."
    )
    deadline: Duration | None = Field(
        default=None,
        description="When a rotation is complete although some leaves have not moved. Default: the longest "
        "leaf life under the old root, and 10m.",
    )


class TrustBundle(Model):
    """Where the roots are published."""

    config_map_name: BundleName = Field(
        default=DEFAULT_TRUST_BUNDLE,
        description="ConfigMap that holds the roots under the key ca.crt in each selected namespace. "
        "Immutable.",
    )
    namespace_selector: Selector = Field(
        default_factory=Selector, description="Namespaces that get the ConfigMap. Empty: all."
    )
    cluster_trust_bundle: bool = Field(
        default=True, description="Publish a ClusterTrustBundle too, where the API server has that kind."
    )


class Primary(Model):
    """The cluster that owns the roots."""

    kubeconfig_secret_name: ObjectName = Field(
        description="Secret in the operator's namespace with the join kubeconfig of the primary."
    )
    ca_configuration_name: ConfigurationName = Field(
        default="default", description="Name of the CAConfiguration in the primary."
    )
    bundle_digest: Fingerprint = Field(
        description="SHA-256 (64 hex digits) over the primary's roots, which the first contact must match."
    )


class Federation(Model):
    """How this cluster belongs to a mesh of several."""

    primary: Primary | None = Field(
        default=None,
        description="Makes this cluster a secondary. provider, root and rotation must then be absent.",
    )


class CAConfigurationSpec(Model):
    """What the CA is to be."""

    trust_domain: TrustDomain | None = Field(
        default=None,
        description="SPIFFE trust domain: lower-case letters, digits, '.', '-' and '_', at most 255 "
        "characters. Immutable once given. Default: <uid>.meshca.local.",
    )
    cluster_name: ClusterName = Field(default="default", description="Name of this cluster in the mesh.")
    provider: Provider | None = Field(default=None, description="Where the root's key lives.")
    private_key: PrivateKey = Field(
        default_factory=PrivateKey, description="The key of the root and of its signers."
    )
    root: Root | None = Field(default=None, description="The life of a generated root.")
    intermediate: Intermediate = Field(default_factory=Intermediate, description="The life of the signers.")
    leaf: Leaf = Field(default_factory=Leaf, description="The life of workload certificates.")
    identity: Identity = Field(default_factory=Identity, description="Which names workloads get.")
    limits: Limits = Field(default_factory=Limits, description="How fast leaves are signed.")
    rotation: Rotation | None = Field(default=None, description="How a root is replaced.")
    trust_bundle: TrustBundle = Field(
        default_factory=TrustBundle, description="Where the roots are published."
    )
    federation: Federation | None = Field(
        default=None, description="Membership in a mesh of several clusters."
    )

    @property
    def is_secondary(self) -> bool:
        """Tell whether another cluster owns the roots."""
        return self.federation is not None and self.federation.primary is not None

    @property
    def effective_provider(self) -> Provider:
        """Return ``provider``, or its default. Meaningless for a secondary."""
        return self.provider or Provider()

    @property
    def effective_root(self) -> Root:
        """Return ``root``, or its default. Meaningless for a secondary."""
        return self.root or Root()

    @property
    def effective_rotation(self) -> Rotation:
        """Return ``rotation``, or its default."""
        return self.rotation or Rotation()

    @model_validator(mode="after")
    def _lives_nest(self) -> Self:
        _within("spec.intermediate.ttl", self.intermediate.ttl, SHORTEST_INTERMEDIATE, None)
        lowest = INTERMEDIATE_PER_LEAF * self.leaf.max_ttl
        if self.intermediate.ttl < lowest:
            raise ValueError(
                f"spec.intermediate.ttl {format_duration(self.intermediate.ttl)} is below the minimum "
                f"{format_duration(lowest)}, three times spec.leaf.maxTTL"
            )
        if not self.is_secondary:
            _within("spec.root.ttl", self.effective_root.ttl, self.intermediate.ttl, None)
        return self

    @model_validator(mode="after")
    def _secondary_owns_no_root(self) -> Self:
        for name in ("provider", "root", "rotation") if self.is_secondary else ():
            if getattr(self, name) is not None:
                raise ValueError(f"spec.{name} must be absent when spec.federation.primary is set")
        return self


class CAConfiguration(Object):
    """A certificate authority: apply one, and workloads can get certificates from it."""

    resource = names.CA_CONFIGURATION

    spec: CAConfigurationSpec
    status: CAConfigurationStatus = Field(default_factory=CAConfigurationStatus)
