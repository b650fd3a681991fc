"""Every name that meshca writes into a cluster: kinds, labels, annotations, object names.

Decides how objects are called and found; never what is in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

GROUP: Final = "meshca.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind as the API server addresses it."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        """Return ``group/version``, or ``version`` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version


def _own(plural: str, kind: str, *, namespaced: bool) -> Resource:
    return Resource(GROUP, VERSION, plural, kind, namespaced)


CA_CONFIGURATION: Final = _own("caconfigurations", "CAConfiguration", namespaced=False)
CA_ROOT: Final = _own("caroots", "CARoot", namespaced=False)
LEAF: Final = _own("leafcertificaterequests", "LeafCertificateRequest", namespaced=True)
INTERMEDIATE: Final = _own(
    "intermediatecertificaterequests", "IntermediateCertificateRequest", namespaced=True
)
FEDERATED_CLUSTER: Final = _own("federatedclusters", "FederatedCluster", namespaced=False)
OWN_RESOURCES: Final = (CA_CONFIGURATION, CA_ROOT, LEAF, INTERMEDIATE, FEDERATED_CLUSTER)

SECRET: Final = Resource("", "v1", "secrets", "Secret", namespaced=True)
CONFIG_MAP: Final = Resource("", "v1", "configmaps", "ConfigMap", namespaced=True)
NAMESPACE: Final = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
SERVICE_ACCOUNT: Final = Resource("", "v1", "serviceaccounts", "ServiceAccount", namespaced=True)
TOKEN_REQUEST: Final = Resource(
    "authentication.k8s.io", "v1", "tokenrequests", "TokenRequest", namespaced=True
)
ROLE: Final = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role", namespaced=True)
ROLE_BINDING: Final = Resource(
    "rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", namespaced=True
)
CLUSTER_ROLE: Final = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False
)
CLUSTER_ROLE_BINDING: Final = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
EVENT: Final = Resource("events.k8s.io", "v1", "events", "Event", namespaced=True)
LEASE: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease", namespaced=True)
CLUSTER_TRUST_BUNDLE: Final = Resource(
    "certificates.k8s.io", "v1", "clustertrustbundles", "ClusterTrustBundle", namespaced=False
)
VALIDATING_POLICY: Final = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "validatingadmissionpolicies",
    "ValidatingAdmissionPolicy",
    namespaced=False,
)
VALIDATING_BINDING: Final = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "validatingadmissionpolicybindings",
    "ValidatingAdmissionPolicyBinding",
    namespaced=False,
)

FIELD_MANAGER: Final = "meshca-operator"
FINALIZER: Final = f"{GROUP}/caroot"
KEYS_FINALIZER: Final = f"{GROUP}/keys"

LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "meshca"
LABEL_CONFIGURATION: Final = f"{GROUP}/ca-configuration"
LABEL_KEY_ROLE: Final = f"{GROUP}/key-role"
KEY_ROLE_ROOT: Final = "root"
KEY_ROLE_SIGNER: Final = "signer"
KEY_ROLE_REQUESTED: Final = "requested-signer"
"""A signer's key for which another cluster has yet to make the certificate."""
LABEL_TRUST_BUNDLE: Final = f"{GROUP}/trust-bundle"
LABEL_LEAF: Final = f"{GROUP}/leaf"
LABEL_FEDERATED_CLUSTER: Final = f"{GROUP}/federated-cluster"

ANNOTATION_ACTIVATED_AT: Final = f"{GROUP}/activated-at"
ANNOTATION_TRIGGER: Final = f"{GROUP}/trigger"
ANNOTATION_PUBLISHED_AT: Final = f"{GROUP}/published-at"
ANNOTATION_PROVIDER: Final = f"{GROUP}/provider"
ANNOTATION_ROTATED_OUT_AT: Final = f"{GROUP}/rotated-out-at"
ANNOTATION_PRUNABLE_AFTER: Final = f"{GROUP}/prunable-after"
ANNOTATION_RENEWAL: Final = f"{GROUP}/renewal"
ANNOTATION_LARGEST_LEAF_TTL: Final = f"{GROUP}/largest-leaf-ttl"
ANNOTATION_IDENTITY: Final = f"{GROUP}/identity"
ANNOTATION_PRUNE_NOW: Final = f"{GROUP}/prune-now"
ANNOTATION_BUNDLE_DIGEST: Final = f"{GROUP}/bundle-digest"
"""On a managed Secret: SHA-256 (hex) of the ``ca.crt`` that the operator wrote."""
ANNOTATION_DELETE_KEYS: Final = f"{GROUP}/delete-keys"
ANNOTATION_ACCEPT_SEQUENCE: Final = f"{GROUP}/accept-sequence"
"""On a secondary: the bundle sequence from which a restored or replaced primary may go on."""
ANNOTATION_INTERMEDIATES: Final = f"{GROUP}/intermediates"

BUNDLE_KEY: Final = "ca.crt"
RESERVED_SECRET_PREFIX: Final = "meshca-"  # noqa: S105  a name, not a password


def root_secret(configuration: str, identity: str) -> str:
    """Name the Secret of a root; ``identity`` is the 10 hex digits of the desired identity."""
    return f"meshca-root-{configuration}-{identity}"


def signer_secret(configuration: str, subject_key_id: str) -> str:
    """Name the Secret of a signer; ``subject_key_id`` is hex, at least 10 digits."""
    return f"meshca-signer-{configuration}-{subject_key_id[:10]}"


def intermediate(cluster: str, subject_key_id: str) -> str:
    """Name a secondary's request for a signer; ``subject_key_id`` is hex, at least 10 digits."""
    return f"{cluster}-{subject_key_id[:10]}"


def ca_root(configuration: str, fingerprint: str) -> str:
    """Name a CARoot; ``fingerprint`` is the hex SHA-256 of the certificate's DER."""
    return f"{configuration}-{fingerprint[:10]}"


def accepted_config_map(configuration: str) -> str:
    """Name the ConfigMap in the operator's namespace that keeps the last accepted spec."""
    return f"meshca-accepted-{configuration}"


FEDERATION_ACCOUNT: Final = "meshca"
"""ServiceAccount by which a secondary speaks to its primary, in the namespace of that secondary."""
SECONDARY_ROLE: Final = "meshca-secondary"
"""ClusterRole of the chart that lets a secondary read what its primary publishes."""


def federation_namespace(cluster: str) -> str:
    """Name the namespace of a secondary in its primary, and the cluster-wide roles that it has there."""
    return f"meshca-fed-{cluster}"


def join_secret(configuration: str) -> str:
    """Name the Secret of a secondary by which it reaches a CAConfiguration of its primary."""
    return f"meshca-primary-{configuration}"


ADMISSION_CONFIG_MAP: Final = "meshca-admission"
INTERMEDIATES_ADMISSION_CONFIG_MAP: Final = "meshca-admission-intermediates"


def signer_name(configuration: str) -> str:
    """Name the ClusterTrustBundle signer of a configuration."""
    return f"{GROUP}/{configuration}"


def cluster_trust_bundle(configuration: str) -> str:
    """Name the ClusterTrustBundle of a configuration, in the form the API server demands."""
    return f"{GROUP}:{configuration}:bundle"
