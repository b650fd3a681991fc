"""Which values the chart takes: values.yaml, its schema, and what that refuses. Needs Helm only."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from e2e.chart import render

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JSON = dict[str, Any]
VALUES: JSON = yaml.safe_load((render.CHART / "values.yaml").read_text())
SCHEMA: JSON = json.loads((render.CHART / "values.schema.json").read_text())

helms = pytest.mark.parametrize("version", render.VERSIONS, ids=["helm4", "helm3"])


def leaves(values: JSON, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def properties(schema: JSON, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in schema["properties"].items():
        if "properties" in value and (*path, key) != ("affinity",):
            yield from properties(value, (*path, key))
        else:
            yield (*path, key)


def test_the_schema_knows_exactly_the_values_that_there_are() -> None:
    free = {("global",)}
    in_values = {path[:2] if path[0] == "resources" else path for path in leaves(VALUES)}
    assert set(properties(SCHEMA)) - free == in_values


def closed(schema: JSON, path: str = "") -> Iterator[str]:
    """Yield the path of every object that takes unknown keys."""
    if schema.get("type") == "object" and "additionalProperties" not in schema:
        yield path
    for key in ("properties", "definitions"):
        for name, child in schema.get(key, {}).items():
            yield from closed(child, f"{path}.{name}")
    if "items" in schema:
        yield from closed(schema["items"], f"{path}[]")


def test_only_what_is_not_ours_is_left_open() -> None:
    assert set(closed(SCHEMA)) == {".global", ".kubernetesObject"}


def test_the_full_case_changes_every_value() -> None:
    given: JSON = yaml.safe_load(render.FULL_VALUES.read_text())

    def at(values: JSON, path: tuple[str, ...]) -> Any:
        for key in path:
            values = values[key]
        return values

    same = {path for path in leaves(VALUES) if at(VALUES, path) == at(given, path)}
    assert same == {("podDisruptionBudget", "enabled")}


REFUSED: list[tuple[str, JSON, str]] = [
    ("unknown key", {"replica": 2}, "replica"),
    ("unknown key, nested", {"image": {"name": "x"}}, "name"),
    ("unknown key, deep", {"metrics": {"serviceMonitor": {"enable": True}}}, "enable"),
    ("unknown key in a list", {"tolerations": [{"keys": "a"}]}, "keys"),
    ("unknown key of affinity", {"affinity": {"podAfinity": {}}}, "podAfinity"),
    ("replicas as text", {"replicas": "2"}, "replicas"),
    ("negative replicas", {"replicas": -1}, "replicas"),
    ("pull policy", {"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
    ("digest in the repository", {"image": {"repository": "a@sha256:0"}}, "repository"),
    ("short digest", {"image": {"digest": "sha256:abc"}}, "digest"),
    ("number as tag", {"image": {"tag": 1.0}}, "tag"),
    ("pull secret as text", {"imagePullSecrets": ["pull"]}, "imagePullSecrets"),
    ("label that is no text", {"commonLabels": {"a": 1}}, "commonLabels"),
    ("account name", {"serviceAccount": {"name": "Mesh_CA"}}, "name"),
    ("break-glass group of everybody", {"breakGlassGroup": "system:authenticated"}, "breakGlassGroup"),
    ("break-glass group of all accounts", {"breakGlassGroup": "system:serviceaccounts"}, "breakGlassGroup"),
    ("break-glass group of a namespace", {"breakGlassGroup": "system:serviceaccounts:a"}, "breakGlassGroup"),
    ("no break-glass group", {"breakGlassGroup": ""}, "breakGlassGroup"),
    ("CEL in the break-glass group", {"breakGlassGroup": "a' || true || '"}, "breakGlassGroup"),
    ("no bundle name", {"trustBundle": {"configMapNames": []}}, "configMapNames"),
    ("bundle name twice", {"trustBundle": {"configMapNames": ["a", "a"]}}, "configMapNames"),
    ("bundle name of Kubernetes", {"trustBundle": {"configMapNames": ["kube-root-ca.crt"]}}, "Names"),
    ("bundle name with a comma", {"trustBundle": {"configMapNames": ["a,b"]}}, "configMapNames"),
    ("all and one namespace", {"managedKeys": {"namespaces": ["*", "a"]}}, "namespaces"),
    ("namespace pattern", {"managedKeys": {"namespaces": ["team-*"]}}, "namespaces"),
    ("namespaces as text", {"managedKeys": {"namespaces": "a"}}, "namespaces"),
    ("all namespaces by requester list", {"requester": {"namespaces": ["*"]}}, "namespaces"),
    ("log level", {"log": {"level": "loud"}}, "level"),
    ("log format", {"log": {"format": "xml"}}, "format"),
    ("no workers", {"workers": 0}, "workers"),
    ("privileged port", {"http": {"port": 80}}, "port"),
    ("port as text", {"http": {"port": "8080"}}, "port"),
    ("filled-in selector", {"topologySpreadConstraints": [{"labelSelector": {}}]}, "labelSelector"),
    ("taint effect", {"tolerations": [{"effect": "Never"}]}, "effect"),
    ("disruption budget", {"podDisruptionBudget": {"maxUnavailable": "half"}}, "maxUnavailable"),
    ("CIDR", {"networkPolicy": {"apiServer": {"cidrs": ["10.0.0.1"]}}}, "cidrs"),
    ("no API server port", {"networkPolicy": {"apiServer": {"ports": []}}}, "ports"),
    ("scrape interval", {"metrics": {"serviceMonitor": {"interval": "often"}}}, "interval"),
    ("trailing slash", {"metrics": {"prometheusRule": {"runbookBase": "https://x/"}}}, "runbookBase"),
    ("alert threshold", {"metrics": {"prometheusRule": {"rootExpiryDays": 0}}}, "rootExpiryDays"),
]  # fmt: skip


@helms
@pytest.mark.parametrize(("values", "named"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refuses_values_that_make_no_sense(values: JSON, named: str, version: int, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    done = render.template("--values", str(file), version=version)
    assert done.returncode != 0
    assert named in done.stderr


@helms
def test_takes_what_helm_itself_adds(version: int) -> None:
    assert render.template("--set", "global.imageRegistry=x", version=version).returncode == 0
