"""Who may ask for which identity, with real users and tokens against requester.meshca.dev."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from e2e import polling
from e2e.api import world
from e2e.api.world import create, managed, patch
from e2e.client import path_of
from meshca.api import admission, names
from meshca.api.crd import custom_resource_definition
from meshca.api.v1alpha1 import LeafCertificateRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
ADMISSION = "/apis/admissionregistration.k8s.io/v1"


def account(namespace: str, name: str) -> str:
    return f"system:serviceaccount:{namespace}:{name}"


def ask(
    api: Cluster, place: str, name: str, of: str = "cart", *, identity: str = "admin", **more: Any
) -> Any:
    token = more.pop("token", "")
    body = managed(name, of, **more)
    return create(api, names.LEAF, body, namespace=place, identity=identity, token=token)


def user(api: Cluster, name: str, place: str, *rules: JSON) -> str:
    """Make a human user who may do anything with leaf requests in a namespace, and what the rules add."""
    api.identity(name)
    world.grant(api, name, place, [*world.ASK, *rules])
    return name


def test_an_account_asks_for_itself_and_is_recorded(api: Cluster, place: str) -> None:
    world.grant(api, account(place, "cart"), place, world.ASK)
    answer = ask(api, place, "own", token=api.token(place, "cart"))
    assert answer.status == 201, answer.body["message"]
    assert answer.body["spec"].get("requester") == world.filled(api, account(place, "cart"))


def test_an_account_does_not_ask_for_another(api: Cluster, place: str) -> None:
    world.grant(api, account(place, "cart"), place, world.ASK)
    answer = ask(api, place, "other", "payment", token=api.token(place, "cart"))
    assert answer.status == 403
    message = answer.body["message"]
    assert account(place, "cart") in message
    assert f"{place}/payment" in message
    assert "create on serviceaccounts/token" in message


def test_an_account_of_the_same_name_in_another_namespace_does_not_ask(api: Cluster, place: str) -> None:
    elsewhere = f"{place}-b"
    world.make_namespace(api, elsewhere)
    world.make_account(api, elsewhere, "cart")
    world.grant(api, account(elsewhere, "cart"), place, world.ASK)
    assert ask(api, place, "foreign", token=api.token(elsewhere, "cart")).status == 403


def test_a_user_who_may_create_tokens_for_an_account_asks_for_that_account_only(
    api: Cluster, place: str
) -> None:
    user(api, f"jane-{place}", place, world.tokens_for("cart"))
    answer = ask(api, place, "granted", identity=f"jane-{place}")
    assert answer.status == 201, answer.body["message"]
    assert answer.body["spec"].get("requester") == world.filled(api, f"jane-{place}")
    assert ask(api, place, "not-granted", "payment", identity=f"jane-{place}").status == 403


def test_a_user_without_that_right_is_refused_whatever_else_he_may(api: Cluster, place: str) -> None:
    everything_else = {
        "apiGroups": [""],
        "resources": ["serviceaccounts", "secrets", "pods"],
        "verbs": ["*"],
    }
    user(api, f"otto-{place}", place, everything_else)
    assert ask(api, place, "refused", identity=f"otto-{place}").status == 403


def test_the_right_in_another_namespace_does_not_count(api: Cluster, place: str) -> None:
    world.make_namespace(api, f"{place}-c")
    user(api, f"nina-{place}", place)
    world.grant(api, f"nina-{place}", f"{place}-c", [world.tokens_for()])
    assert ask(api, place, "refused", identity=f"nina-{place}").status == 403


@pytest.mark.parametrize("existing", [True, False])
def test_an_account_that_does_not_exist_may_be_asked_for_by_who_could_create_its_tokens(
    api: Cluster, place: str, *, existing: bool
) -> None:
    # The operator, not admission, waits for the account to exist.
    name = "cart" if existing else "later"
    assert ask(api, place, f"for-{name}", name).status == 201


def test_a_forged_requester_is_refused_naming_both(api: Cluster, place: str) -> None:
    answer = ask(api, place, "forged", requester=account(place, "cart"))
    assert answer.status == 403
    assert account(place, "cart") in answer.body["message"]
    assert "the caller, admin" in answer.body["message"]


def test_the_caller_may_name_himself(api: Cluster, place: str) -> None:
    assert ask(api, place, "honest", requester="admin").body["spec"]["requester"] == "admin"


def test_a_restore_keeps_the_requester_of_the_backup(api: Cluster, place: str) -> None:
    answer = ask(api, place, "restored", requester=account(place, "cart"), identity=world.MEDIC)
    assert answer.status == 201
    assert answer.body["spec"]["requester"] == account(place, "cart")


def test_nobody_asks_in_the_namespace_of_the_operator(api: Cluster) -> None:
    world.grant(api, world.OPERATOR, world.SYSTEM, world.ASK)
    own = ask(api, world.SYSTEM, "own", "meshca", token=api.token(world.SYSTEM, "meshca"))
    for answer in (own, ask(api, world.SYSTEM, "x"), ask(api, world.SYSTEM, "x", identity=world.MEDIC)):
        assert answer.status == 403
        assert "operator's own namespace" in answer.body["message"]


def test_metadata_is_left_to_rbac(api: Cluster, place: str) -> None:
    assert ask(api, place, "labelled").status == 201
    user(api, f"carl-{place}", place)
    change = {"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}, "finalizers": ["example.org/x"]}}
    answer = patch(api, names.LEAF, "labelled", change, namespace=place, identity=f"carl-{place}")
    assert answer.status == 200, answer.body["message"]
    gone = {"metadata": {"finalizers": None}}
    assert patch(api, names.LEAF, "labelled", gone, namespace=place, identity=f"carl-{place}").status == 200


def test_applying_the_same_manifest_again_changes_nothing(api: Cluster, place: str) -> None:
    body = managed("again", "cart") | {"metadata": {"name": "again", "namespace": place}}
    api.apply(body)
    api.apply(body)
    api.kubectl("apply", "--filename=-", input=json.dumps(body))
    kept = api.request("GET", path_of(names.LEAF, place, "again"))
    assert (kept["metadata"]["generation"], kept["spec"].get("requester")) == (1, world.filled(api, "admin"))


@pytest.fixture
def mutable(api: Cluster) -> Iterator[None]:
    """Take the immutability rules out of the CRD for one test: another guard is looked at."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/leafcertificaterequests.meshca.dev"
    weak = custom_resource_definition(LeafCertificateRequest)["spec"]
    spec = weak["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    del spec["x-kubernetes-validations"]
    api.request("PATCH", path, {"spec": weak})
    yield
    api.request("PATCH", path, {"spec": custom_resource_definition(LeafCertificateRequest)["spec"]})
    api.request("POST", "/api/v1/namespaces", {"metadata": {"name": "strict-again"}})
    create(api, names.LEAF, managed("probe"), namespace="strict-again")
    probe = {"spec": {"secretName": "other"}}
    polling.until(
        lambda: patch(api, names.LEAF, "probe", probe, namespace="strict-again").status == 422,
        "the changed schema is not in force",
    )


@pytest.mark.usefixtures("mutable")
def test_even_without_the_crds_rules_a_changed_spec_needs_the_right(api: Cluster, place: str) -> None:
    user(api, f"eve-{place}", place)
    assert ask(api, place, "edited").status == 201

    def change(spec: JSON, identity: str) -> int:
        return patch(api, names.LEAF, "edited", {"spec": spec}, namespace=place, identity=identity).status

    polling.until(lambda: change({"ttl": "2h", "requester": None}, "admin") == 200, "it is still refused")
    assert change({"serviceAccountName": "payment"}, f"eve-{place}") == 403
    assert change({"requester": "somebody"}, "admin") == 403


@pytest.fixture
def unfilled(api: Cluster) -> Iterator[None]:
    """Take the mutating policy away for one test, as on an API server that has none."""
    if not world.mutates(api):
        yield
        return
    path = f"{ADMISSION}/mutatingadmissionpolicybindings"
    api.request("DELETE", f"{path}/{admission.REQUESTER_DEFAULTS}")

    def filled() -> bool:
        answer = create(api, names.LEAF, managed("probe"), namespace="default", dry=True)
        return "requester" in answer.body["spec"]

    polling.until(lambda: not filled(), "it is still filled in")
    yield
    api.request("POST", path, admission.mutating_binding())
    polling.until(filled, "it is not filled in again")


@pytest.mark.usefixtures("unfilled")
def test_without_the_mutating_policy_an_absent_requester_is_taken(api: Cluster, place: str) -> None:
    answer = ask(api, place, "absent")
    assert answer.status == 201
    assert "requester" not in answer.body["spec"]
    assert ask(api, place, "forged", requester="somebody").status == 403
