"""What a kubelet would make of a Pod template: command, environment, ports, probes.

Decides how the parts of a template that the chart uses are resolved, and refuses every other part
loudly, so that nothing of a Deployment is left out unseen. Pure: reads no cluster.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from e2e.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON = dict[str, Any]

GRACE_SECONDS = 30.0
"""What the API server fills in for terminationGracePeriodSeconds."""


@dataclass(frozen=True, slots=True)
class Probe:
    """An HTTP probe; ``timeout`` in seconds."""

    path: str
    port: int
    timeout: float


@dataclass(frozen=True, slots=True)
class Container:
    """The one container of a Deployment's Pods, ready to be run."""

    command: tuple[str, ...]
    env: tuple[JSON, ...]
    service_account: str
    readiness: Probe
    grace: float
    replicas: int
    template_hash: str

    def environment(self, fields: Mapping[str, str]) -> dict[str, str]:
        """Resolve the environment; ``fields`` are the values of field paths that a kubelet knows."""
        resolved: dict[str, str] = {}
        for entry in self.env:
            resolved[entry["name"]] = _value(entry, fields, resolved)
        return resolved

    def arguments(self, environment: Mapping[str, str]) -> list[str]:
        """Return command and arguments with ``$(NAME)`` expanded."""
        return [_expand(part, environment) for part in self.command]


def read(deployment: JSON) -> Container:
    """Read a Deployment of exactly one container; ``HarnessError`` for what this cannot honour."""
    template = deployment["spec"]["template"]
    pod = template["spec"]
    containers = pod["containers"]
    if len(containers) != 1 or pod.get("initContainers"):
        raise HarnessError("the Deployment has more than one container")
    container = containers[0]
    if container.get("envFrom"):
        raise HarnessError("the Deployment uses envFrom, which the process runner does not resolve")
    if not container.get("command"):
        raise HarnessError("the Deployment names no command; the image's own is not known here")
    return Container(
        command=(*container["command"], *container.get("args", ())),
        env=tuple(container.get("env", ())),
        service_account=pod.get("serviceAccountName", "default"),
        readiness=_probe(container),
        grace=float(pod.get("terminationGracePeriodSeconds", GRACE_SECONDS)),
        replicas=deployment["spec"].get("replicas", 1),
        template_hash=deployment["metadata"]
        .get("annotations", {})
        .get("deployment.kubernetes.io/revision", str(deployment["metadata"].get("generation", 1))),
    )


def _probe(container: JSON) -> Probe:
    probe = container["readinessProbe"]
    get = probe["httpGet"]
    if get.get("scheme", "HTTP") != "HTTP" or get.get("host"):
        raise HarnessError("the readiness probe is not plain HTTP on the Pod's address")
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", ()) if "name" in port}
    port = get["port"]
    return Probe(get.get("path", "/"), ports.get(port, port), float(probe.get("timeoutSeconds", 1)))


def _value(entry: JSON, fields: Mapping[str, str], resolved: Mapping[str, str]) -> str:
    source = entry.get("valueFrom")
    if not source:
        return _expand(str(entry.get("value", "")), resolved)
    path = source.get("fieldRef", {}).get("fieldPath", "")
    if path not in fields:
        raise HarnessError(f"environment {entry['name']}: the process runner cannot resolve {source}")
    return fields[path]


def _expand(text: str, values: Mapping[str, str]) -> str:
    """Expand ``$(NAME)``; an unknown name stays as it stands, ``$$`` is one ``$``."""

    def replace(found: re.Match[str]) -> str:
        name = found["name"]
        return "$" if name is None else values.get(name, found[0])

    return re.sub(r"\$(?:\$|\((?P<name>[^)]+)\))", replace, text)
