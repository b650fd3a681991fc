"""Who may ask for a signer of which cluster, and what a report may change: on a real API server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from e2e.api import world
from e2e.api.world import create, delete, patch
from meshca.api import names
from tests.fakes.api_rows import CSR

if TYPE_CHECKING:
    from e2e.client import Response
    from e2e.cluster import Cluster

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]


def user_of(place: str, account: str = "cart") -> str:
    return f"system:serviceaccount:{place}:{account}"


def make_rights(api: Cluster, place: str, cluster: str, account: str = "cart") -> None:
    """Give an account what an invitation gives: requests in its namespace, reports under one name."""
    world.grant(
        api,
        user_of(place, account),
        place,
        [{"apiGroups": [names.GROUP], "resources": [names.INTERMEDIATE.plural], "verbs": ["*"]}],
    )
    world.grant(
        api,
        user_of(place, account),
        "",
        [
            {
                "apiGroups": [names.GROUP],
                "resources": [f"{names.FEDERATED_CLUSTER.plural}/status"],
                "resourceNames": [cluster],
                "verbs": ["get", "patch"],
            }
        ],
    )


def ask(api: Cluster, place: str, name: str, cluster: str, requester: str | None, **who: Any) -> Response:
    body = world.intermediate(name, cluster, requester or "")
    if requester is None:
        del body["spec"]["requester"]
    return create(api, names.INTERMEDIATE, body, namespace=place, **who)


@pytest.fixture
def west(api: Cluster, place: str) -> str:
    """Return the name of a registered cluster whose account is ``cart`` of the place."""
    cluster = f"west-{place}"
    make_rights(api, place, cluster)
    spec = {"clusterName": cluster, "namespace": place, "requester": {"username": user_of(place)}}
    body = {
        "apiVersion": names.API_VERSION,
        "kind": names.FEDERATED_CLUSTER.kind,
        "metadata": {"name": cluster},
        "spec": spec,
    }
    assert create(api, names.FEDERATED_CLUSTER, body).status == 201
    return cluster


def test_123_requester_asks_for_its_own_cluster(api: Cluster, place: str, west: str) -> None:
    answer = ask(api, place, "mine", west, user_of(place), token=api.token(place, "cart"))
    assert answer.status == 201, answer.body["message"]
    assert answer.body["spec"]["requester"] == user_of(place)


def test_requester_is_filled_in_where_the_api_server_can(api: Cluster, place: str, west: str) -> None:
    answer = ask(api, place, "absent", west, None, token=api.token(place, "cart"))
    if world.mutates(api):
        assert answer.body["spec"]["requester"] == user_of(place)
    else:
        assert answer.status == 403
        assert user_of(place) in answer.body["message"]


def test_123_nobody_asks_in_the_name_of_another_cluster(api: Cluster, place: str, west: str) -> None:
    for other in ("elsewhere", f"{west}-2"):
        answer = ask(api, place, "stolen", other, user_of(place), token=api.token(place, "cart"))
        assert answer.status == 403
        assert f"may not ask for signers of cluster {other}" in answer.body["message"]


def test_123_nobody_asks_in_the_name_of_another_user(api: Cluster, place: str, west: str) -> None:
    answer = ask(api, place, "forged", west, user_of(place), identity="admin")
    assert answer.status == 403
    assert "spec.requester must be the caller, admin" in answer.body["message"]
    # Under its own name it may: that it is not the registered one is for the operator to say.
    assert ask(api, place, "honest", west, "admin", identity="admin").status == 201


def test_another_account_of_the_namespace_does_not_speak_for_the_cluster(
    api: Cluster, place: str, west: str
) -> None:
    rules = [{"apiGroups": [names.GROUP], "resources": [names.INTERMEDIATE.plural], "verbs": ["*"]}]
    world.grant(api, user_of(place, "payment"), place, rules)
    token = api.token(place, "payment")
    for requester in (user_of(place, "payment"), user_of(place)):
        assert ask(api, place, "other", west, requester, token=token).status == 403


def test_a_restore_brings_requests_back_as_they_were(api: Cluster, place: str, west: str) -> None:
    answer = ask(api, place, "restored", west, user_of(place), identity=world.MEDIC)
    assert answer.status == 201
    assert answer.body["spec"]["requester"] == user_of(place)


def test_request_changes_neither_by_who_made_it_nor_by_anybody(api: Cluster, place: str, west: str) -> None:
    token = api.token(place, "cart")
    assert ask(api, place, "fixed", west, user_of(place), token=token).status == 201
    for change in ({"clusterName": "east"}, {"requester": "somebody"}, {"request": CSR + "\n"}):
        answer = patch(api, names.INTERMEDIATE, "fixed", {"spec": change}, namespace=place, token=token)
        assert answer.status in {403, 422}
    label = {"metadata": {"labels": {"a": "b"}}}
    assert patch(api, names.INTERMEDIATE, "fixed", label, namespace=place).status == 200
    assert delete(api, names.INTERMEDIATE, "fixed", namespace=place).status == 200


def test_report_changes_what_the_cluster_says_and_nothing_of_what_the_primary_says(
    api: Cluster, place: str, west: str
) -> None:
    token = api.token(place, "cart")

    def report(status: JSON, token: str) -> Response:
        body = {"status": status}
        return patch(api, names.FEDERATED_CLUSTER, west, body, subresource="status", token=token)

    first = {"lastSeen": world.NOW, "roots": ["0" * 64], "activeRoot": "0" * 64, "reporter": "uid"}
    answer = report(first, token)
    assert answer.status == 200, answer.body["message"]
    operator = api.token(world.SYSTEM, "meshca")
    everything = [{"apiGroups": [names.GROUP], "resources": ["*"], "verbs": ["*"]}]
    world.grant(api, world.OPERATOR, "", everything)
    ours = world.ready("Registered") | {"intermediateTTL": "720h"}
    assert report(ours, operator).status == 200
    forgeries: list[JSON] = [
        {"conditions": []},
        {"conditions": None},
        {"intermediateTTL": "8760h"},
        {"intermediateTTL": None},
        {"observedGeneration": 7},
        world.ready("Registered", generation=2),
    ]
    for stolen in forgeries:
        answer = report(stolen, token)
        assert answer.status == 403, stolen
        assert "a report changes neither" in answer.body["message"]
    answer = report({"lastSeen": "2021-01-01T00:00:00Z", "roots": ["1" * 64]}, token)
    assert answer.status == 200, answer.body["message"]
    assert answer.body["status"]["intermediateTTL"] == "720h"
    assert answer.body["status"]["conditions"] == ours["conditions"]
