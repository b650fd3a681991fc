"""The command line as a person runs it, on a real API server with the real operator: see, rotate, verify."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e import scenario, workload
from e2e.client import path_of
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.cluster import Cluster
    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
BIN = Path(sys.executable).parent


def meshca(
    cluster: Cluster, *args: str, program: tuple[str, ...] = ("meshca",), stdin: str = ""
) -> tuple[int, str]:
    """Run the installed command as an administrator; return the exit code and all it said."""
    environment = os.environ | {
        "KUBECONFIG": str(cluster.kubeconfig()),
        "PATH": os.pathsep.join([str(BIN), str(cluster.binaries), os.environ.get("PATH", os.defpath)]),
    }
    done = subprocess.run(
        [*cluster.prefix, *program, *args],
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    said = done.stdout + done.stderr
    print(f"$ {' '.join(program)} {' '.join(args)}\n{said}(exit code {done.returncode})\n")
    return done.returncode, said


def with_leaves(cluster: Cluster, namespace: str, ca: str) -> None:
    """Issue one leaf of each kind."""
    scenario.issue(cluster, namespace, "manual", ca)
    scenario.issue(cluster, namespace, "automatic", ca, renewal="Automatic")
    scenario.issue(cluster, namespace, "managed", ca, secretName="web-tls")


def test_a_fresh_ca_is_fine_and_keeps_its_promises(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    cluster = installed.cluster
    made = make_ca()
    name, root = made["metadata"]["name"], made["status"]["activeRoot"]
    with_leaves(cluster, namespace, name)

    code, said = meshca(cluster, "status", name)
    assert (code, f"{name}: fine" in said, "3 Issued" in said) == (0, True, True)
    code, said = meshca(cluster, "roots", name)
    assert (code, root in said, "Active" in said) == (0, True, True)
    code, said = meshca(cluster, "verify", name)
    assert (code, "3 live leaves of 3" in said) == (0, True), said
    code, said = meshca(cluster, "status", name, "--output", "json")
    assert json.loads(said)["configurations"][0]["activeRoot"] == root

    code, said = meshca(cluster, "inspect", f"lcr/{namespace}/manual")
    assert (code, f"/ns/{namespace}/sa/default" in said) == (0, True)
    code, said = meshca(cluster, "inspect", f"secret/{namespace}/web-tls")
    assert (code, "tls.crt: 2 certificates" in said, "PRIVATE" in said) == (0, True, False)
    bundle = scenario.bundle(cluster, namespace, made["spec"]["trustBundle"]["configMapName"])
    code, said = meshca(cluster, "inspect", "-", stdin=bundle)
    assert (code, "itself (a root)" in said) == (0, True)


def test_kubectl_finds_it_as_a_plugin(installed: Installation) -> None:
    code, said = meshca(installed.cluster, "status", program=("kubectl", "meshca"))
    assert (code in {0, 1}, "default: " in said) == (True, True), said


def test_what_is_wrong_is_said(installed: Installation, namespace: str, make_ca: Callable[..., JSON]) -> None:
    cluster = installed.cluster
    name = make_ca()["metadata"]["name"]
    wish = workload.csr(uris=["spiffe://somebody.else/ns/x/sa/y"])
    workload.create(cluster, workload.leaf(namespace, "thief", caConfigurationName=name, request=wish.pem))
    workload.wait_reason(cluster, namespace, "thief", "Denied")
    code, said = meshca(cluster, "status", name)
    assert (code, f"{namespace}/thief: Denied" in said) == (1, True)
    assert meshca(cluster, "status", "nobody")[0] == 2


def test_a_stranger_in_a_bundle_is_found_before_it_is_repaired(disturbed: Installation, room: str) -> None:
    cluster = disturbed.cluster
    body = scenario.configuration(room)
    name, bundle = body["metadata"]["name"], body["spec"]["trustBundle"]["configMapName"]
    where = path_of(names.CONFIG_MAP, room, bundle)
    cluster.apply(body)
    scenario.wait_published(cluster, name)
    disturbed.operator.stop()
    try:
        empty = '{"data":{"ca.crt":""}}'
        cluster.kubectl("patch", "configmap", bundle, "-n", room, "--type=merge", "-p", empty)
        code, said = meshca(cluster, "verify", name)
        assert (code, f"bundle of {room} lacks the active root" in said) == (1, True), said
    finally:
        disturbed.operator.start()
        disturbed.operator.wait_ready()
    scenario.wait_other(cluster, where, lambda item: bool(item["data"][names.BUNDLE_KEY]))
    assert meshca(cluster, "verify", name)[0] == 0


def test_rotate_waits_until_automatic_leaves_have_moved(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    cluster = installed.cluster
    made = make_ca()
    name, root = made["metadata"]["name"], made["status"]["activeRoot"]
    scenario.issue(cluster, namespace, "automatic", name, renewal="Automatic")
    scenario.issue(cluster, namespace, "managed", name, secretName="web-tls")

    code, said = meshca(cluster, "rotate", name, "--trigger", "e2e", "--wait", "--timeout", "2m")
    assert (code, "Completed" in said, "Reissue" in said) == (0, True, True), said
    after = cluster.request("GET", scenario.path(name))
    assert after["status"]["activeRoot"] != root
    code, said = meshca(cluster, "roots", name)
    assert "Retiring" in said
    code, said = meshca(cluster, "verify", name)
    assert (code, "2 roots" in said, "2 live leaves of 2" in said) == (0, True, True), said
    assert meshca(cluster, "inspect", f"lcr/{namespace}/automatic")[1].count("issued by") == 3
    code, said = meshca(cluster, "rotate", name, "--trigger", "e2e", "--wait")
    assert (code, "nothing was changed" in said) == (0, True)


def test_a_manual_leaf_is_waited_for_and_named(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    cluster = installed.cluster
    name = make_ca()["metadata"]["name"]
    scenario.issue(cluster, namespace, "manual", name)
    code, said = meshca(cluster, "rotate", name, "--wait", "--timeout", "15s")
    assert (code, "goes on by itself" in said) == (3, True), said

    def is_left(item: JSON) -> bool:
        told = item["status"].get("rotation", {}).get("stragglers", [])
        return any(text.startswith(f"{namespace}/manual: ") for text in told)

    scenario.wait_other(cluster, scenario.path(name), is_left)
    where = workload.path(namespace, "manual")
    scenario.wait_other(cluster, where, lambda item: item["status"]["state"] == "Rotate")
    code, said = meshca(cluster, "status", name)
    assert (code, f"left: {namespace}/manual" in said, "1 Rotate" in said) == (0, True, True), said
    assert meshca(cluster, "verify", name)[0] == 0
