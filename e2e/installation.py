"""Installing meshca as a user does: Helm, then one CAConfiguration.

Decides the order of the steps and waits for what a script would wait for; the same for every flavour.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2e import polling
from e2e.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from e2e.cluster import Cluster, Operator

JSON = dict[str, Any]

CHART = Path(__file__).parents[1] / "charts" / "meshca"
NAMESPACE = "meshca-system"
RELEASE = "meshca"
GROUP = "/apis/meshca.dev/v1alpha1"
CONFIGURATIONS = f"{GROUP}/caconfigurations"
KINDS = (
    "caconfigurations",
    "caroots",
    "leafcertificaterequests",
    "intermediatecertificaterequests",
    "federatedclusters",
)
MUTATING = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies/requester-defaults.meshca.dev"
DEFAULT: JSON = {
    "apiVersion": "meshca.dev/v1alpha1",
    "kind": "CAConfiguration",
    "metadata": {"name": "default"},
    "spec": {"trustDomain": "e2e.example"},
}
"""The smallest CAConfiguration that a user would write."""


@dataclass(frozen=True, slots=True)
class Installation:
    """The release that Helm installed into a cluster, and the operator that runs from it."""

    cluster: Cluster
    operator: Operator
    namespace: str
    release: str


def install(
    cluster: Cluster,
    *,
    values: Mapping[str, str] | None = None,
    helm: int = 4,
    configuration: JSON | None = DEFAULT,
    timeout: float = 90.0,
) -> Installation:
    """Install the chart, bring the operator up, apply a CAConfiguration and wait until it is Ready.

    ``values`` go to ``helm --set``; ``configuration=None`` leaves the last two steps out; seconds.
    """
    release(cluster, values or {}, helm=helm, timeout=timeout)
    operator = cluster.operator(NAMESPACE, RELEASE)
    operator.start()
    operator.wait_ready(timeout)
    if configuration is not None:
        configure(cluster, configuration, timeout)
    return Installation(cluster, operator, NAMESPACE, RELEASE)


def release(cluster: Cluster, values: Mapping[str, str], *, helm: int = 4, timeout: float = 90.0) -> None:
    """Install or upgrade the chart and return once its kinds are served; starts no process; seconds."""
    settings = {**cluster.chart_values, **values}
    arguments = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    wait = ["--wait", f"--timeout={timeout:.0f}s"] if cluster.has_nodes else []
    place = ["--namespace", NAMESPACE, "--create-namespace"]
    cluster.helm("upgrade", "--install", RELEASE, str(CHART), *place, *arguments, *wait, version=helm)
    wait_served(cluster)


def configure(cluster: Cluster, configuration: JSON, timeout: float = 90.0) -> JSON:
    """Apply a CAConfiguration and return it once it is Ready; seconds."""
    cluster.apply(configuration)
    return cluster.wait(f"{CONFIGURATIONS}/{configuration['metadata']['name']}", timeout=timeout)


def wait_served(cluster: Cluster, timeout: float = 60.0) -> None:
    """Return once every kind is Established, can be listed, and is known to kubectl; seconds.

    The three come one after the other; what kubectl read too early it would believe for hours.
    """
    for kind in KINDS:
        definition = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind}.meshca.dev"
        cluster.wait(definition, "Established", timeout=timeout)
        # Waiting for nothing in particular ends with the first list that succeeds.
        cluster.wait_for(lambda _: True, f"{GROUP}/{kind}", timeout)
    wait_known(cluster, "meshca.dev", KINDS, version="v1alpha1", timeout=timeout)


def wait_filled(cluster: Cluster, timeout: float = 60.0) -> None:
    """Return once the mutating policy, if there is one, fills in who asks for a leaf; seconds.

    For after a start of the API server: it reads the schemas of CRDs every five seconds, and its mutating
    policies refuse with 503 what they know no schema of. Nothing announces that they know one.
    """
    if not exists(cluster, MUTATING):
        return
    probe = {
        "apiVersion": "meshca.dev/v1alpha1",
        "kind": "LeafCertificateRequest",
        "metadata": {"name": "probe"},
        "spec": {"serviceAccountName": "default", "secretName": "probe-tls"},
    }
    where = f"{GROUP}/namespaces/default/leafcertificaterequests?dryRun=All"

    def said() -> JSON:
        return dict(cluster.exchange("POST", where, probe).body)

    polling.until(
        lambda: said().get("spec", {}).get("requester"),
        lambda: f"{MUTATING} does not fill in who asks: {said()}",
        timeout=timeout,
        every=0.2,
    )


def wait_known(
    cluster: Cluster, group: str, kinds: Sequence[str], *, version: str = "v1", timeout: float = 60.0
) -> None:
    """Return once discovery, which kubectl reads anew, and OpenAPI tell of kinds that are served; seconds."""

    def missing() -> list[str]:
        return _unknown_to_kubectl(cluster, group, kinds, version)

    polling.until(
        lambda: not missing(),
        lambda: f"served, but not in discovery or OpenAPI: {missing()}",
        timeout=timeout,
        every=0.1,
    )


def _unknown_to_kubectl(cluster: Cluster, group: str, kinds: Sequence[str], version: str) -> list[str]:
    options = (f"--api-group={group}", "--output=name", "--cached=false")
    # With no kind of the group at all kubectl fails.
    listed = cluster.kubectl("api-resources", *options, check=False).stdout.split()
    described = cluster.exchange("GET", f"/openapi/v3/apis/{group}/{version}")
    paths = described.body.get("paths", {}) if described.status == 200 else {}
    return [
        kind
        for kind in kinds
        if f"{kind}.{group}" not in listed or not any(path.endswith(f"/{kind}") for path in paths)
    ]


def uninstall(installation: Installation, *, helm: int = 4) -> None:
    """Stop the operator and remove the release; CRDs, CARoots and keys stay."""
    installation.operator.stop()
    installation.cluster.helm(
        "uninstall", installation.release, "--namespace", installation.namespace, version=helm
    )


def exists(cluster: Cluster, path: str) -> bool:
    """Tell whether an object is there now."""
    try:
        cluster.request("GET", path)
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return True
