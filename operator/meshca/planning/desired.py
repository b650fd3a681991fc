"""What a CAConfiguration asks for, in the terms of ``pki`` and with every default applied.

Decides nothing that the API's models did not decide already (bounds, defaults): it turns their text
into templates, patterns, networks and keys, once per change. Never looks at what exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshca.pki.identity import PathTemplate, TrustDomain
from meshca.pki.keys import CA_KEYS, KeySpec
from meshca.pki.names import DNSPattern, parse_network
from meshca.pki.profile import ROOT_TTL_MAX

if TYPE_CHECKING:
    from datetime import timedelta

    from meshca.api.v1alpha1.caconfiguration import CAConfigurationSpec
    from meshca.api.v1alpha1.selector import Selector
    from meshca.pki.names import IPNetwork


@dataclass(frozen=True, slots=True)
class Naming:
    """Which names the configuration gives, and to which namespaces."""

    template: PathTemplate
    dns_patterns: tuple[DNSPattern, ...]
    networks: tuple[IPNetwork, ...]
    namespaces: Selector


@dataclass(frozen=True, slots=True)
class PrimaryRef:
    """Which cluster's roots are mirrored: the join Secret, the name there, the digest of a first contact."""

    secret: str
    configuration: str
    digest: str


@dataclass(frozen=True, slots=True)
class Desired:
    """One configuration's wish; durations are timedeltas, rates per second (0 = off)."""

    configuration: str
    trust_domain: TrustDomain | None
    cluster_name: str
    provider: str
    imported_secret: str
    key: KeySpec
    trigger: str
    root_ttl: timedelta
    root_renew_before: timedelta | None
    intermediate_ttl: timedelta
    leaf_ttl: timedelta
    leaf_max_ttl: timedelta
    naming: Naming
    csr_max_per_second: float
    csr_max_concurrent: int
    reissue_per_second: float
    force: str
    minimum_publish_time: timedelta | None
    rotation_deadline: timedelta | None
    bundle_name: str
    bundle_namespaces: Selector
    cluster_trust_bundle: bool
    primary: PrimaryRef | None = None
    """Set in a secondary, for which provider, root and rotation mean nothing."""


def resolve(configuration: str, spec: CAConfigurationSpec) -> Desired:
    """Read a spec that the models accepted; ``InvalidError`` for a kind of key that no CA may have."""
    provider, root, rotation = spec.effective_provider, spec.effective_root, spec.effective_rotation
    key = KeySpec.of(str(spec.private_key.algorithm), spec.private_key.size)
    CA_KEYS.check_spec(key)
    identity = spec.identity
    return Desired(
        configuration=configuration,
        trust_domain=TrustDomain.parse(spec.trust_domain) if spec.trust_domain else None,
        cluster_name=spec.cluster_name,
        provider=str(provider.type),
        imported_secret=(provider.builtin.root_secret_name or "") if provider.builtin else "",
        key=key,
        trigger=rotation.trigger,
        # Longer ones could be written down and never made, which would show when the next one is due.
        root_ttl=min(root.ttl, ROOT_TTL_MAX),
        root_renew_before=root.renew_before,
        intermediate_ttl=min(spec.intermediate.ttl, ROOT_TTL_MAX),
        leaf_ttl=spec.leaf.ttl,
        leaf_max_ttl=spec.leaf.max_ttl,
        naming=Naming(
            template=PathTemplate.parse(identity.path_template),
            dns_patterns=tuple(DNSPattern.parse(text) for text in identity.dns_names),
            networks=tuple(parse_network(text) for text in identity.ip_addresses),
            namespaces=identity.namespace_selector,
        ),
        csr_max_per_second=spec.limits.csr_max_per_second,
        csr_max_concurrent=spec.limits.csr_max_concurrent,
        reissue_per_second=rotation.reissue_per_second,
        force=rotation.force_without_cross_signing,
        minimum_publish_time=rotation.minimum_publish_time,
        rotation_deadline=rotation.deadline,
        bundle_name=spec.trust_bundle.config_map_name,
        bundle_namespaces=spec.trust_bundle.namespace_selector,
        cluster_trust_bundle=spec.trust_bundle.cluster_trust_bundle,
        primary=_primary(spec),
    )


def _primary(spec: CAConfigurationSpec) -> PrimaryRef | None:
    primary = spec.federation.primary if spec.federation is not None else None
    if primary is None:
        return None
    return PrimaryRef(
        secret=primary.kubeconfig_secret_name,
        configuration=primary.ca_configuration_name,
        digest=primary.bundle_digest,
    )
