"""What a real API server says to the chart's objects: strict schemas, and restricted pod security."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from e2e.chart import monitoring, render
from e2e.chart.render import of, one
from e2e.installation import wait_known

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.client import Response
    from e2e.cluster import Cluster

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
CONFINED = "confined"


@pytest.fixture(scope="module")
def server(blank: Cluster) -> Iterator[Cluster]:
    for file in monitoring.crds():
        blank.apply(file.read_text())
        definition = yaml.safe_load(file.read_text())["metadata"]["name"]
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{definition}"
        blank.wait(path, "Established")
        kind, group = definition.split(".", 1)
        blank.wait_for(lambda _: True, f"/apis/{group}/v1/{kind}")
        wait_known(blank, group, [kind])
    yield blank
    for file in monitoring.crds():
        blank.kubectl("delete", "--filename", str(file), "--wait=false")


@pytest.mark.parametrize("case", render.CASES)
def test_every_object_passes_the_servers_strict_schema(case: str, server: Cluster) -> None:
    objects = render.objects(*render.CASES[case])
    accounts = of(objects, "ServiceAccount")
    objects = [item for item in objects if item not in accounts]
    server.apply(accounts)  # for real, because without it a Pod is refused even in a dry run
    try:
        arguments = (
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "--validate=strict",
            "--filename=-",
        )
        done = server.kubectl(*arguments, input=yaml.safe_dump_all(objects), check=False)
    finally:
        server.kubectl("delete", "--filename=-", input=yaml.safe_dump_all(accounts))
    assert (done.returncode, done.stderr) == (0, ""), "an error, or a warning"
    assert len(done.stdout.splitlines()) == len(objects)


def test_a_field_that_does_not_exist_is_noticed(server: Cluster, full: list[JSON]) -> None:
    for kind in ("NetworkPolicy", "ServiceMonitor", "PrometheusRule", "PodDisruptionBudget"):
        wrong = copy.deepcopy(one(full, kind))
        wrong["spec"]["nonsense"] = 1
        arguments = (
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "--validate=strict",
            "--filename=-",
        )
        done = server.kubectl(*arguments, input=yaml.safe_dump(wrong), check=False)
        assert done.returncode != 0, kind
        assert "nonsense" in done.stderr


# --- restricted pod security ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def confined(blank: Cluster) -> Iterator[Cluster]:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    blank.request("POST", "/api/v1/namespaces", {"metadata": {"name": CONFINED, "labels": labels}})
    blank.wait_for(bool, f"/api/v1/namespaces/{CONFINED}/serviceaccounts/default")
    yield blank
    blank.request("DELETE", f"/api/v1/namespaces/{CONFINED}")


def pods(objects: list[JSON]) -> list[JSON]:
    found = [(o["metadata"]["name"], o["spec"]["template"]["spec"]) for o in of(objects, "Deployment")]
    found += [(o["metadata"]["name"], o["spec"]) for o in of(objects, "Pod")]
    account = {"serviceAccountName": "default"}
    return [{"metadata": {"name": name}, "spec": copy.deepcopy(spec) | account} for name, spec in found]


def admit(cluster: Cluster, pod: JSON) -> Response:
    path = f"/api/v1/namespaces/{CONFINED}/pods"
    return cluster.client().exchange("POST", path, pod, query={"dryRun": "All"})


@pytest.mark.parametrize("case", render.CASES)
def test_every_pod_enters_a_restricted_namespace(case: str, confined: Cluster) -> None:
    found = pods(render.objects(*render.CASES[case]))
    assert len(found) == 2
    for pod in found:
        answer = admit(confined, pod)
        assert answer.status == 201, answer.body
        assert "Warning" not in answer.headers


@pytest.mark.parametrize("field", ["allowPrivilegeEscalation", "capabilities"])
def test_a_pod_that_is_less_confined_does_not(field: str, confined: Cluster, default: list[JSON]) -> None:
    for pod in pods(default):
        del pod["spec"]["containers"][0]["securityContext"][field]
        answer = admit(confined, pod)
        assert answer.status == 403
        assert "restricted" in answer.body["message"]
