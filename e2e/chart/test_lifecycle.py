"""Install, upgrade, roll back, uninstall, install again: what Helm does to objects, with both Helms.

Processes are not started here: what the operator makes of it is another scenario.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
import trustme
import yaml

from e2e import installation
from e2e.chart import render

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.cluster import Cluster, Completed

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
HOME = render.NAMESPACE
DEPLOYMENT = f"/apis/apps/v1/namespaces/{HOME}/deployments/meshca"
OWN = "/apis/meshca.dev/v1alpha1"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
KEYS = f"/api/v1/namespaces/{HOME}/secrets?labelSelector=meshca.dev/key-role"
LEAVABLE = (
    "clusterroles.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    "validatingadmissionpolicybindings.admissionregistration.k8s.io",
    "mutatingadmissionpolicies.admissionregistration.k8s.io",
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
    "deployments.apps",
    "services",
    "serviceaccounts",
    "roles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "poddisruptionbudgets.policy",
)

helms = pytest.mark.parametrize("version", render.VERSIONS, ids=["helm4", "helm3"])


class Release:
    """The chart, installed by one version of Helm and perhaps upgraded by another."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def run(self, version: int, command: str, *arguments: str, check: bool = True) -> Completed:
        """Run a Helm command that takes a release in our namespace."""
        place = ("--namespace", HOME)
        return self.cluster.helm(command, render.RELEASE, *arguments, *place, version=version, check=check)

    def install(self, version: int, *arguments: str) -> None:
        """Install, waiting for nothing."""
        self.run(version, "install", str(render.CHART), *arguments)

    def get(self, path: str) -> JSON:
        """Read an object or a list as the administrator."""
        return self.cluster.request("GET", path)

    def uids(self) -> dict[str, str]:
        """Return the identity of everything that must outlive the release."""
        found = [*self.get(f"{OWN}/caconfigurations")["items"], *self.get(f"{OWN}/caroots")["items"]]
        found += self.get(KEYS)["items"]
        found += [item for item in self.get(CRDS)["items"] if item["spec"]["group"] == "meshca.dev"]
        return {item["metadata"]["name"]: item["metadata"]["uid"] for item in found}


@pytest.fixture
def release(blank: Cluster) -> Iterator[Release]:
    """Return a cluster that has never seen the chart; it is so again afterwards."""
    forget(blank)
    yield Release(blank)
    forget(blank)


def forget(cluster: Cluster) -> None:
    for name in cluster.helm("list", "--short", "--namespace", HOME).stdout.split():
        cluster.helm("uninstall", name, "--namespace", HOME)
    crds = [item["metadata"]["name"] for item in cluster.request("GET", CRDS)["items"]]
    own = [name for name in crds if name.endswith(".meshca.dev")]
    for name in own:
        # A kind that was never listed is deleted only after a back-off of many minutes.
        cluster.wait_for(lambda _: True, f"{OWN}/{name.split('.')[0]}", 30)
    if own:
        cluster.kubectl("delete", "customresourcedefinition", *own)
    for secret in cluster.request("GET", KEYS)["items"]:
        # The policies are in force for some moments after they are gone.
        path = f"/api/v1/namespaces/{HOME}/secrets/{secret['metadata']['name']}"
        cluster.request("DELETE", path, identity=restorer(cluster))


def restorer(cluster: Cluster) -> str:
    """Return an administrator who may write what only the operator may write otherwise."""
    cluster.identity("restorer", ["system:masters", "meshca:break-glass"])
    return "restorer"


def use(cluster: Cluster) -> None:
    """Make what users and the operator make: a configuration, a root and its key."""
    installation.wait_served(cluster)
    pem = trustme.CA().cert_pem.bytes().decode()
    secret = "meshca-root-default-0123456789"
    cluster.apply(installation.DEFAULT)
    cluster.request(
        "POST",
        f"{OWN}/caroots",
        {
            "apiVersion": "meshca.dev/v1alpha1",
            "kind": "CARoot",
            "metadata": {"name": "default-0123456789"},
            "spec": {
                "caConfigurationName": "default",
                "certificate": pem,
                "source": "Generated",
                "keySecretName": secret,
            },
        },
        identity=restorer(cluster),
    )
    metadata = {"name": secret, "labels": {"meshca.dev/key-role": "root"}}
    body = {"metadata": metadata, "stringData": {"tls.crt": pem}}
    cluster.request("POST", f"/api/v1/namespaces/{HOME}/secrets", body)


@helms
def test_an_upgrade_and_its_rollback_change_what_was_asked(version: int, release: Release) -> None:
    release.install(version)
    before = release.get(DEPLOYMENT)
    release.run(version, "upgrade", str(render.CHART))
    unchanged = release.get(DEPLOYMENT)["metadata"]["generation"]
    assert unchanged == before["metadata"]["generation"], "no new Pods for nothing"
    release.run(version, "upgrade", str(render.CHART), "--set=replicas=3,log.level=debug")
    upgraded = release.get(DEPLOYMENT)
    assert upgraded["spec"]["replicas"] == 3
    assert upgraded["spec"]["template"] != before["spec"]["template"]
    release.run(version, "rollback", "1")
    after = release.get(DEPLOYMENT)
    assert after["spec"] == before["spec"]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


def _mutates(cluster: Cluster) -> bool:
    """Tell whether the API server has MutatingAdmissionPolicies in the version that the chart uses."""
    return cluster.exchange("GET", f"{ADMISSION}/mutatingadmissionpolicies").status != 404


@helms
def test_uninstalling_keeps_the_ca_and_installing_again_finds_it(version: int, release: Release) -> None:
    release.install(version)
    use(release.cluster)
    kept = release.uids()
    assert len(kept) == 5 + 3
    release.run(version, "uninstall", "--wait")
    assert release.uids() == kept
    kinds = [kind for kind in LEAVABLE if "mutating" not in kind or _mutates(release.cluster)]
    left = release.cluster.kubectl(
        "get", ",".join(kinds), "-A", "-l", f"app.kubernetes.io/instance={render.RELEASE}", "-o", "name"
    )
    assert left.stdout == ""
    release.install(version)
    assert release.uids() == kept


@pytest.mark.parametrize(("first", "then"), [(3, 4), (4, 3)], ids=["from 3 to 4", "from 4 to 3"])
def test_the_other_helm_takes_over(first: int, then: int, release: Release) -> None:
    release.install(first)
    release.run(then, "upgrade", str(render.CHART), "--set=replicas=1")
    assert release.get(DEPLOYMENT)["spec"]["replicas"] == 1
    release.run(then, "rollback", "1")
    assert release.get(DEPLOYMENT)["spec"]["replicas"] == 2


@helms
def test_an_upgrade_brings_the_crds_of_its_version(version: int, release: Release, tmp_path: Path) -> None:
    old = older(tmp_path)
    release.run(version, "install", str(old))
    use(release.cluster)
    kept = release.uids()
    assert columns(release) == ["Age"]
    release.run(version, "upgrade", str(render.CHART))
    assert "State" in columns(release)
    installation.wait_served(release.cluster)
    assert release.uids() == kept


def older(directory: Path) -> Path:
    """Return a copy of the chart as an earlier version whose CARoot CRD had one column."""
    chart = directory / "meshca"
    shutil.copytree(render.CHART, chart)
    crd = chart / "templates" / "crds" / "caroots.yaml"
    head, _, rest = crd.read_text().partition("    additionalPrinterColumns:\n")
    lines = rest.splitlines(keepends=True)
    end = next(n for n, line in enumerate(lines) if not line.startswith(("    - ", "      ")))
    column = [{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]
    kept = "".join(f"    {line}\n" for line in yaml.safe_dump(column).splitlines())
    crd.write_text(f"{head}    additionalPrinterColumns:\n{kept}{''.join(lines[end:])}")
    about = chart / "Chart.yaml"
    about.write_text(about.read_text().replace("version: 0.2.0", "version: 0.0.9", 1))
    return chart


def columns(release: Release) -> list[str]:
    (version,) = release.get(f"{CRDS}/caroots.meshca.dev")["spec"]["versions"]
    return [column["name"] for column in version["additionalPrinterColumns"]]


@helms
def test_a_second_release_is_refused(version: int, release: Release) -> None:
    release.install(version)
    arguments = ("install", "other", str(render.CHART), "--namespace", HOME)
    done = release.cluster.helm(*arguments, version=version, check=False)
    assert done.returncode != 0
    assert "meshca.dev" in done.stderr, "names the object that has another owner"
    assert release.get(DEPLOYMENT)["metadata"]["annotations"]["meta.helm.sh/release-name"] == "meshca"


@helms
def test_a_release_of_another_name_can_take_over_what_was_kept(version: int, release: Release) -> None:
    release.install(version)
    use(release.cluster)
    kept = release.uids()
    release.run(version, "uninstall", "--wait")
    arguments = ("install", "other", str(render.CHART), "--namespace", HOME, "--take-ownership")
    release.cluster.helm(*arguments, version=version)
    assert release.uids() == kept
