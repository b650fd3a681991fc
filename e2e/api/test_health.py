"""What kstatus and Argo CD make of our objects, asked of kstatus itself and of the Lua that we document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from e2e.api import world
from e2e.api.health import judge
from e2e.client import path_of
from meshca.api import names
from meshca.api.v1alpha1 import KINDS, ConditionType, Reason
from meshca.api.v1alpha1.conditions import REASONS

if TYPE_CHECKING:
    from e2e.cluster import Cluster
    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]


def configured(api: Cluster, name: str) -> JSON:
    body = {
        "apiVersion": names.API_VERSION,
        "kind": "CAConfiguration",
        "metadata": {"name": name},
        "spec": {},
    }
    return world.create(api, names.CA_CONFIGURATION, body).body


def test_an_object_that_nobody_has_seen_is_not_finished(api: Cluster) -> None:
    assert judge(configured(api, "unseen"))[:2] == ("InProgress", "Progressing")


def test_a_leaf_that_nobody_has_seen_is_not_finished(api: Cluster, place: str) -> None:
    made = world.create(api, names.LEAF, world.managed("unseen", "cart"), namespace=place).body
    assert judge(made)[:2] == ("InProgress", "Progressing")


def test_a_ready_object_is_finished_until_its_spec_changes(api: Cluster) -> None:
    configured(api, "changes")
    ready = world.write_status(api, names.CA_CONFIGURATION, "changes", world.ready("Initialised"))
    assert judge(ready)[:2] == ("Current", "Healthy")
    spec = {"spec": {"leaf": {"ttl": "24h"}}}
    changed = world.patch(api, names.CA_CONFIGURATION, "changes", spec).body
    assert judge(changed)[:2] == ("InProgress", "Progressing")
    seen = world.ready("Initialised", generation=2)
    assert judge(world.write_status(api, names.CA_CONFIGURATION, "changes", seen))[:2] == (
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
    Reason.ROOT_EXPIRED,
    Reason.ROOT_KEY_MISSING,
    Reason.SECRET_CONFLICT,
    Reason.TRUST_DOMAIN_CONFLICT,
}


@pytest.mark.parametrize("reason", sorted({*REASONS["Ready, on a leaf"], *REASONS["Ready, on a CA"]}))
def test_what_needs_a_person_is_degraded_and_the_rest_progresses(api: Cluster, reason: Reason) -> None:
    name = f"reason-{reason.lower()}"
    configured(api, name)
    status = world.ready(reason, "False")
    kstatus, argo, message = judge(world.write_status(api, names.CA_CONFIGURATION, name, status))
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
    kind: str, reason: str, status: str, argo: str
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
        assert judge(body)[:2] == ("Current", argo)


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_on_its_way_out_is_terminating_to_kstatus(kind: type[Any]) -> None:
    body = {
        "apiVersion": names.API_VERSION,
        "kind": kind.resource.kind,
        "metadata": {"name": "x", "generation": 1, "deletionTimestamp": world.NOW},
        "status": world.ready(),
    }
    assert judge(body)[0] == "Terminating"


def test_what_the_operator_made_is_finished(installed: Installation, namespace: str) -> None:
    cluster = installed.cluster
    spec = {"serviceAccountName": "default", "secretName": "made-tls"}
    cluster.request("POST", path_of(names.LEAF, namespace), world.managed("made") | {"spec": spec})
    path = path_of(names.LEAF, namespace, "made")
    assert judge(cluster.wait(path))[:2] == ("Current", "Healthy")
    configuration = cluster.request("GET", path_of(names.CA_CONFIGURATION, name="default"))
    assert judge(configuration).kstatus == "Current"
    root = cluster.request("GET", path_of(names.CA_ROOT, name=configuration["status"]["activeRoot"]))
    assert judge(root)[:2] == ("Current", "Healthy")
