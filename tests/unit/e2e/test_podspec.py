"""What the process runner makes of a Deployment is what a kubelet would."""

from __future__ import annotations

from typing import Any

import pytest

from e2e import podspec
from e2e.errors import HarnessError

FIELDS = {"metadata.name": "pod-0", "status.podIP": "127.1.2.3"}


def deployment(**container: Any) -> dict[str, Any]:
    probe = {"httpGet": {"path": "/readyz", "port": "http"}, "timeoutSeconds": 3}
    whole = {
        "name": "operator",
        "command": ["run"],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": probe,
        **container,
    }
    return {
        "metadata": {"generation": 4},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [whole]}}},
    }


def test_command_and_arguments_are_one_line_with_variables_expanded() -> None:
    container = podspec.read(deployment(command=["run", "$(A)"], args=["--b=$(B)", "$$(A)", "$(NONE)"]))
    assert container.arguments({"A": "1", "B": "2"}) == ["run", "1", "--b=2", "$(A)", "$(NONE)"]


def test_the_environment_is_resolved_in_order() -> None:
    env = [
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "URL", "value": "http://$(IP)/$(POD)/$(LATER)"},
        {"name": "LATER", "value": "x"},
        {"name": "EMPTY"},
    ]
    assert podspec.read(deployment(env=env)).environment(FIELDS) == {
        "POD": "pod-0",
        "IP": "127.1.2.3",
        "URL": "http://127.1.2.3/pod-0/$(LATER)",
        "LATER": "x",
        "EMPTY": "",
    }


def test_probe_port_grace_and_account_come_from_the_pod() -> None:
    wanted = deployment()
    wanted["spec"]["template"]["spec"] |= {"serviceAccountName": "sa", "terminationGracePeriodSeconds": 7}
    container = podspec.read(wanted)
    assert container.readiness == podspec.Probe("/readyz", 8080, 3.0)
    assert (container.service_account, container.grace, container.replicas) == ("sa", 7.0, 2)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"envFrom": [{"configMapRef": {"name": "a"}}]}, "envFrom"),
        ({"command": []}, "no command"),
        (
            {"env": [{"name": "S", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]},
            "cannot resolve",
        ),
        ({"readinessProbe": {"httpGet": {"port": 1, "scheme": "HTTPS"}}}, "plain HTTP"),
    ],
    ids=["envFrom", "no-command", "secret", "https-probe"],
)
def test_what_it_cannot_honour_is_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(HarnessError, match=text):
        podspec.read(deployment(**change)).environment(FIELDS)


def test_a_second_container_is_refused() -> None:
    wanted = deployment()
    containers = wanted["spec"]["template"]["spec"]["containers"]
    containers.append(containers[0])
    with pytest.raises(HarnessError, match="more than one container"):
        podspec.read(wanted)
