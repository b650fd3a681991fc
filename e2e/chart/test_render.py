"""What the chart renders to, the same with Helm 4 and Helm 3. Needs Helm only."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from e2e.chart import render
from e2e.chart.render import of, one
from meshca.api import admission
from meshca.api.policyparts import AdmissionParameters

JSON = dict[str, Any]
ROOT = render.CHART.parents[1]

helms = pytest.mark.parametrize("version", render.VERSIONS, ids=["helm4", "helm3"])


# --- lint, snapshots, versions --------------------------------------------------------------------


@helms
@pytest.mark.parametrize("case", render.CASES)
def test_lints_without_a_warning(case: str, version: int) -> None:
    done = render.helm("lint", "--strict", str(render.CHART), *render.CASES[case], version=version)
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout


@helms
@pytest.mark.parametrize("case", render.CASES)
def test_renders_to_the_committed_snapshot(case: str, version: int) -> None:
    wanted = render.snapshot_file(case).read_text()
    assert render.snapshot(case, version) == wanted, "if the change is meant: make chart"


@helms
@pytest.mark.parametrize(
    ("kubernetes", "accepted"),
    [("1.31.14", False), ("1.32.0", True), ("1.32.0-eks-1", True), ("1.37.2", True)],
)
def test_says_which_kubernetes_it_needs(kubernetes: str, accepted: bool, version: int) -> None:
    done = render.template("--kube-version", kubernetes, version=version)
    assert (done.returncode == 0) is accepted
    if not accepted:
        assert ">=1.32.0-0" in done.stderr


def test_the_version_is_that_of_the_package() -> None:
    chart = yaml.safe_load((render.CHART / "Chart.yaml").read_text())
    package = (ROOT / "operator" / "meshca" / "__init__.py").read_text()
    (version,) = re.findall(r'^__version__ = "(.+)"', package, re.MULTILINE)
    assert (chart["version"], chart["appVersion"]) == (version, version)


# --- names and labels -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("release", "arguments", "name"),
    [
        ("meshca", (), "meshca"),
        ("my-meshca", (), "my-meshca"),
        ("prod", (), "prod-meshca"),
        ("prod", ("--set=nameOverride=ca",), "prod-ca"),
        ("prod", ("--set=fullnameOverride=ca",), "ca"),
        ("a" * 53, (), "a" * 50),
    ],
)
def test_the_full_name_contains_meshca_once(release: str, arguments: tuple[str, ...], name: str) -> None:
    done = render.helm("template", release, str(render.CHART), "--namespace", "n", *arguments)
    objects = [o for o in yaml.safe_load_all(done.stdout) if o]
    deployment = one(objects, "Deployment")
    assert deployment["metadata"]["name"] == name
    assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == name
    assert one(objects, "ServiceAccount", name)
    assert all(len(o["metadata"]["name"]) <= 63 for o in of(objects, "Service", "Pod"))


@pytest.mark.parametrize("case", render.CASES)
def test_names_are_unique_and_namespaces_are_written_out(case: str) -> None:
    objects = render.objects(*render.CASES[case])
    keys = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects]
    assert len(keys) == len(set(keys))
    namespaced = {"Deployment", "Service", "ServiceAccount", "Role", "RoleBinding", "Pod"} | {
        "PodDisruptionBudget",
        "NetworkPolicy",
        "ServiceMonitor",
        "PrometheusRule",
    }
    assert all(("namespace" in o["metadata"]) == (o["kind"] in namespaced) for o in objects)


def test_every_selector_meets_the_pods_and_no_other_pod(default: list[JSON]) -> None:
    labels = one(default, "Deployment")["spec"]["template"]["metadata"]["labels"]
    deployment, budget = one(default, "Deployment"), one(default, "PodDisruptionBudget")
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        budget["spec"]["selector"]["matchLabels"],
        one(default, "Service")["spec"]["selector"],
        *(
            constraint["labelSelector"]["matchLabels"]
            for constraint in deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
        ),
    ]
    test = one(default, "Pod")["metadata"]["labels"]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert not selector.items() <= test.items()


def test_a_selector_does_not_change_with_the_version(default: list[JSON]) -> None:
    selector = one(default, "Deployment")["spec"]["selector"]["matchLabels"]
    assert not {"helm.sh/chart", "app.kubernetes.io/version"} & selector.keys()


def test_the_service_monitor_finds_the_service(full: list[JSON]) -> None:
    service, monitor = one(full, "Service"), one(full, "ServiceMonitor")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


# --- the Pods -------------------------------------------------------------------------------------


def containers(objects: list[JSON]) -> list[tuple[JSON, JSON]]:
    specs = [o["spec"]["template"]["spec"] for o in of(objects, "Deployment")]
    specs += [o["spec"] for o in of(objects, "Pod")]
    return [(spec, container) for spec in specs for container in spec["containers"]]


@pytest.mark.parametrize("case", render.CASES)
def test_every_container_is_as_confined_as_it_can_be(case: str) -> None:
    found = containers(render.objects(*render.CASES[case]))
    assert len(found) == 2
    for spec, container in found:
        pod, own = spec["securityContext"], container["securityContext"]
        assert (pod["runAsNonRoot"], pod["runAsUser"], pod["seccompProfile"]) == (
            True,
            65532,
            {"type": "RuntimeDefault"},
        )
        assert own == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} <= container["resources"].keys()
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert all("emptyDir" in volume for volume in spec.get("volumes", []))


def test_the_default_image_names_no_registry_host(default: list[JSON]) -> None:
    for _, container in containers(default):
        assert container["image"] == "meshca/operator:0.2.0"
        assert container["imagePullPolicy"] == "IfNotPresent"


@pytest.mark.parametrize(
    ("arguments", "image"),
    [
        (("--set-string=image.tag=9",), "meshca/operator:9"),
        (
            (f"--set=image.repository=r.example.org/ca,image.digest=sha256:{'a' * 64}",),
            f"r.example.org/ca@sha256:{'a' * 64}",
        ),
    ],
)
def test_the_image_can_be_another(arguments: tuple[str, ...], image: str) -> None:
    assert {c["image"] for _, c in containers(render.objects(*arguments))} == {image}


def environment(objects: list[JSON]) -> dict[str, str]:
    (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    return {
        entry["name"]: entry.get("value", entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath"))
        for entry in container["env"]
    }


def test_the_operator_learns_from_its_pod_who_and_where_it_is(default: list[JSON]) -> None:
    assert environment(default) == {
        "MESHCA_NAMESPACE": "metadata.namespace",
        "MESHCA_POD_NAME": "metadata.name",
        "MESHCA_SERVICE_ACCOUNT": "spec.serviceAccountName",
        "MESHCA_HTTP_HOST": "status.podIP",
        "MESHCA_HTTP_PORT": "8080",
        "MESHCA_LEASE_NAME": "meshca",
        "MESHCA_BREAK_GLASS_GROUP": "meshca:break-glass",
        "MESHCA_MANAGED_KEY_NAMESPACES": "",
        "MESHCA_TRUST_BUNDLE_NAMES": "meshca-trust-bundle",
        "MESHCA_LOG_FORMAT": "json",
        "MESHCA_LOG_LEVEL": "info",
        "MESHCA_WORKERS": "16",
    }


def test_settings_say_what_the_roles_allow(full: list[JSON]) -> None:
    told = environment(full)
    bound = {o["metadata"]["namespace"] for o in of(full, "RoleBinding") if "managed" in o["roleRef"]["name"]}
    assert set(told["MESHCA_MANAGED_KEY_NAMESPACES"].split(",")) == bound == {"shop", "bank"}
    bundles = one(full, "ClusterRole", "mesh-ca-trust-bundles")["rules"][0]["resourceNames"]
    assert told["MESHCA_TRUST_BUNDLE_NAMES"].split(",") == bundles
    lease = one(full, "Role", "mesh-ca-leader-election")["rules"][0]["resourceNames"]
    assert [told["MESHCA_LEASE_NAME"]] == lease
    assert told["MESHCA_BREAK_GLASS_GROUP"] == "example.org/restore"


def test_a_rolling_update_never_takes_a_replica_before_its_successor_is_ready(default: list[JSON]) -> None:
    spec = one(default, "Deployment")["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    pod = spec["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 15
    (container,) = pod["containers"]
    paths = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert paths["readiness"] == {"path": "/readyz", "port": "http"}
    assert paths["liveness"] == paths["startup"] == {"path": "/healthz", "port": "http"}


# --- switches -------------------------------------------------------------------------------------

SWITCHES = [
    ("podDisruptionBudget.enabled=false", "PodDisruptionBudget", 1, 0),
    ("networkPolicy.enabled=true", "NetworkPolicy", 0, 1),
    ("metrics.serviceMonitor.enabled=true", "ServiceMonitor", 0, 1),
    ("metrics.prometheusRule.enabled=true", "PrometheusRule", 0, 1),
    ("serviceAccount.create=false", "ServiceAccount", 2, 1),
]


@pytest.mark.parametrize(("switch", "kind", "before", "after"), SWITCHES, ids=[row[0] for row in SWITCHES])
def test_a_switch_does_what_it_says(
    switch: str, kind: str, before: int, after: int, default: list[JSON]
) -> None:
    assert len(of(default, kind)) == before
    assert len(of(render.objects("--set", switch), kind)) == after


@pytest.mark.parametrize(
    ("namespaces", "kinds"),
    [("", []), ("{a,b}", ["RoleBinding", "RoleBinding"]), ("{*}", ["ClusterRoleBinding"])],
)
def test_managed_keys_reach_as_far_as_asked(namespaces: str, kinds: list[str]) -> None:
    objects = render.objects(*(("--set", f"managedKeys.namespaces={namespaces}") if namespaces else ()))
    bindings = of(objects, "RoleBinding", "ClusterRoleBinding")
    assert [b["kind"] for b in bindings if b["roleRef"]["name"] == "meshca-managed-keys"] == kinds
    assert len([o for o in objects if o["metadata"]["name"] == "meshca-managed-keys"]) == len(kinds) + bool(
        kinds
    )


@pytest.mark.parametrize(
    ("case", "user", "group"),
    [
        ("default", "system:serviceaccount:meshca-system:meshca", "meshca:break-glass"),
        ("full", "system:serviceaccount:meshca-system:certificate-authority", "example.org/restore"),
    ],
)
def test_the_policies_trust_whom_the_values_name(case: str, user: str, group: str) -> None:
    objects = render.objects(*render.CASES[case])
    trusted = AdmissionParameters(user, render.NAMESPACE, group)
    for name in admission.VALIDATING:
        policy = one(objects, "ValidatingAdmissionPolicy", name)
        binding = one(objects, "ValidatingAdmissionPolicyBinding", name)
        assert admission.as_shipped(policy, binding, trusted), name


def test_every_crd_stays_when_the_release_goes(default: list[JSON]) -> None:
    crds = of(default, render.CRD)
    assert {o["spec"]["names"]["kind"] for o in crds} == {
        "CAConfiguration",
        "CARoot",
        "LeafCertificateRequest",
        "IntermediateCertificateRequest",
        "FederatedCluster",
    }
    assert all(o["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for o in crds)
    assert not (render.CHART / "crds").exists(), "Helm never upgrades what is in crds/"
    assert of(render.objects("--set=crds.install=false"), render.CRD) == []


def test_the_test_leaves_nothing_in_the_release(default: list[JSON]) -> None:
    hooks = [o for o in default if "helm.sh/hook" in o["metadata"].get("annotations", {})]
    assert {o["metadata"]["name"] for o in hooks} == {"meshca-test"}
    assert sorted(o["kind"] for o in hooks) == ["ClusterRole", "ClusterRoleBinding", "Pod", "ServiceAccount"]
    assert {o["metadata"]["annotations"]["helm.sh/hook"] for o in hooks} == {"test"}
