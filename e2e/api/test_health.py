"""What kstatus and Argo CD make of our objects, asked of kstatus itself and of the Lua that we document."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from e2e import cache, toolchain
from e2e.api import world
from meshca.api import names
from meshca.api.v1alpha1 import KINDS, ConditionType, Reason
from meshca.api.v1alpha1.conditions import REASONS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from e2e.cluster import Cluster

    Judge = Callable[[dict[str, Any]], tuple[str, str, str]]

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
SOURCE = world.ROOT / "e2e" / "go" / "health"
SCRIPT = world.ROOT / "docs" / "health.lua"
READY = str(ConditionType.READY)


@pytest.fixture(scope="session")
def program() -> Path:
    """Return the program that asks kstatus and runs the script, built once."""
    go = toolchain.go()
    recipe = cache.digest(*(path.read_bytes() for path in sorted(SOURCE.iterdir())))

    def build(directory: Path) -> None:
        copy = directory / "source"
        shutil.copytree(SOURCE, copy)
        command = [str(go), "build", "-mod=readonly", "-o", str(directory / "health"), "."]
        cache.run(command, label="health", cwd=copy, env=toolchain.environment(go))

    return cache.entry("health", recipe, build) / "health"


@pytest.fixture(scope="session")
def judged(program: Path) -> Judge:
    """Return a function from an object to kstatus' word, Argo CD's word and Argo CD's message."""

    def judge(body: JSON) -> tuple[str, str, str]:
        asked = json.dumps({"script": SCRIPT.read_text(), "objects": [body]})
        done = subprocess.run([program], input=asked, capture_output=True, text=True, check=True)
        (answer,) = json.loads(done.stdout)
        return answer["kstatus"], answer["status"], answer["message"]

    return judge


def configured(api: Cluster, name: str) -> JSON:
    body = {
        "apiVersion": names.API_VERSION,
        "kind": "CAConfiguration",
        "metadata": {"name": name},
        "spec": {},
    }
    return world.create(api, names.CA_CONFIGURATION, body).body


def test_an_object_that_nobody_has_seen_is_not_finished(api: Cluster, judged: Judge) -> None:
    assert judged(configured(api, "unseen"))[:2] == ("InProgress", "Progressing")


def test_a_leaf_that_nobody_has_seen_is_not_finished(api: Cluster, judged: Judge, place: str) -> None:
    made = world.create(api, names.LEAF, world.managed("unseen", "cart"), namespace=place).body
    assert judged(made)[:2] == ("InProgress", "Progressing")


def test_a_ready_object_is_finished_until_its_spec_changes(api: Cluster, judged: Judge) -> None:
    configured(api, "changes")
    ready = world.write_status(api, names.CA_CONFIGURATION, "changes", world.ready("Initialised"))
    assert judged(ready)[:2] == ("Current", "Healthy")
    spec = {"spec": {"leaf": {"ttl": "24h"}}}
    changed = world.patch(api, names.CA_CONFIGURATION, "changes", spec).body
    assert judged(changed)[:2] == ("InProgress", "Progressing")
    seen = world.ready("Initialised", generation=2)
    assert judged(world.write_status(api, names.CA_CONFIGURATION, "changes", seen))[:2] == (
        "Current",
        "Healthy",
    )


NEEDS_A_PERSON = {
    Reason.BUNDLE_CONFLICT,
    Reason.DENIED,
    Reason.INVALID_CONFIGURATION,
    Reason.INVALID_REQUEST,
    Reason.MANAGED_KEYS_NOT_ALLOWED,
    Reason.POLICY_GAP,
    Reason.PROVIDER_ERROR,
    Reason.ROOT_KEY_MISSING,
    Reason.SECRET_CONFLICT,
    Reason.TRUST_DOMAIN_CONFLICT,
}


@pytest.mark.parametrize("reason", sorted({*REASONS["Ready, on a leaf"], *REASONS["Ready, on a CA"]}))
def test_what_needs_a_person_is_degraded_and_the_rest_progresses(
    api: Cluster, judged: Judge, reason: Reason
) -> None:
    name = f"reason-{reason.lower()}"
    configured(api, name)
    status = world.ready(reason, "False")
    kstatus, argo, message = judged(world.write_status(api, names.CA_CONFIGURATION, name, status))
    assert kstatus == "InProgress"
    assert argo == ("Degraded" if reason in NEEDS_A_PERSON else "Progressing")
    assert message.startswith(f"{reason}: ")


@pytest.mark.parametrize(
    ("kind", "reason", "status", "argo"),
    [
        (ConditionType.DEGRADED, Reason.CLOCK_SKEW, "True", "Degraded"),
        (ConditionType.DEGRADED, Reason.AS_EXPECTED, "False", "Healthy"),
        (ConditionType.ROOT_EXPIRING_SOON, Reason.ROOT_EXPIRED, "True", "Degraded"),
        (ConditionType.ROOT_EXPIRING_SOON, Reason.ROOT_EXPIRING_SOON, "True", "Healthy"),
        (ConditionType.ROTATION_IN_PROGRESS, Reason.REISSUE, "True", "Healthy"),
    ],
)
def test_a_working_ca_that_wants_attention_is_degraded_to_argo_cd_only(
    judged: Judge, kind: str, reason: str, status: str, argo: str
) -> None:
    body: JSON = {
        "apiVersion": names.API_VERSION,
        "kind": "CAConfiguration",
        "metadata": {"name": "x", "generation": 1},
    }
    body["status"] = world.ready("Initialised")
    extra = body["status"]["conditions"][0] | {"type": kind, "reason": reason, "status": status}
    for conditions in ([*body["status"]["conditions"], extra], [extra, *body["status"]["conditions"]]):
        body["status"] = body["status"] | {"conditions": conditions}
        assert judged(body)[:2] == ("Current", argo)


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_on_its_way_out_is_terminating_to_kstatus(judged: Judge, kind: type[Any]) -> None:
    body = {
        "apiVersion": names.API_VERSION,
        "kind": kind.resource.kind,
        "metadata": {"name": "x", "generation": 1, "deletionTimestamp": world.NOW},
        "status": world.ready(),
    }
    assert judged(body)[0] == "Terminating"
