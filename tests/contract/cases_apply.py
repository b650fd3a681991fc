"""Server-side apply: ownership, conflicts, removal, and never bringing back what was deleted."""

from __future__ import annotations

import json

import pytest

from meshca.api import names
from meshca.api.names import CONFIG_MAP, LEASE, SECRET
from meshca.errors import ConflictError, InvalidError
from tests.contract.harness import WIDGET, Contract, case


def _map(c: Contract, data: dict[str, str], **metadata: object) -> dict[str, object]:
    return {"metadata": {"name": "m", "namespace": c.namespace} | metadata, "data": data}


@case
async def apply_makes_and_then_changes(c: Contract) -> None:
    made = await c.gateway.apply(CONFIG_MAP, _map(c, {"a": "1"}, labels={"l": "1"}))
    assert made["data"] == {"a": "1"}
    again = await c.gateway.apply(CONFIG_MAP, _map(c, {"a": "2"}, labels={"l": "1"}))
    assert again["data"] == {"a": "2"}
    assert again["metadata"]["uid"] == made["metadata"]["uid"]
    assert again["metadata"]["labels"] == {"l": "1"}


@case
async def applying_the_same_again_changes_no_version(c: Contract) -> None:
    made = await c.gateway.apply(CONFIG_MAP, _map(c, {"a": "1"}))
    again = await c.gateway.apply(CONFIG_MAP, _map(c, {"a": "1"}))
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


@case
async def apply_removes_only_what_it_once_set(c: Contract) -> None:
    await c.gateway.apply(CONFIG_MAP, _map(c, {"a": "1", "b": "1"}, labels={"ours": "1"}))
    await c.gateway.patch(
        CONFIG_MAP, "m", c.namespace, {"data": {"c": "1"}, "metadata": {"labels": {"theirs": "1"}}}
    )
    done = await c.gateway.apply(CONFIG_MAP, _map(c, {"a": "1"}))
    assert done["data"] == {"a": "1", "c": "1"}
    assert done["metadata"]["labels"] == {"theirs": "1"}


@case
async def what_two_managers_own_stays_until_both_let_go(c: Contract) -> None:
    await c.gateway.apply(CONFIG_MAP, _map(c, {"a": "1", "b": "1"}))
    assert (await c.apply_as("other", CONFIG_MAP, _map(c, {"a": "1"}))).status == 200
    done = await c.gateway.apply(CONFIG_MAP, _map(c, {}))
    assert done["data"] == {"a": "1"}
    last = await c.apply_as("other", CONFIG_MAP, _map(c, {}))
    assert "data" not in json.loads(last.body)


@case
async def apply_without_force_meets_a_conflict(c: Contract) -> None:
    await c.gateway.create(CONFIG_MAP, _map(c, {"a": "theirs"}))
    with pytest.raises(ConflictError) as caught:
        await c.gateway.apply(CONFIG_MAP, _map(c, {"a": "ours"}), force=False)
    assert caught.value.reason == "Conflict"
    assert (await c.get("m", CONFIG_MAP))["data"] == {"a": "theirs"}
    same = await c.gateway.apply(CONFIG_MAP, _map(c, {"a": "theirs"}), force=False)
    assert same["data"] == {"a": "theirs"}


@case
async def apply_with_force_takes_the_field(c: Contract) -> None:
    assert (await c.apply_as("other", CONFIG_MAP, _map(c, {"a": "theirs"}))).status == 201
    done = await c.gateway.apply(CONFIG_MAP, _map(c, {"a": "ours"}))
    assert done["data"] == {"a": "ours"}
    assert (await c.apply_as("other", CONFIG_MAP, _map(c, {"a": "theirs"}))).status == 409
    # It no longer owns the field, so leaving it out removes nothing.
    last = await c.apply_as("other", CONFIG_MAP, _map(c, {}))
    assert json.loads(last.body)["data"] == {"a": "ours"}


@case
async def apply_with_a_uid_never_makes_an_object(c: Contract) -> None:
    made = await c.secret()
    metadata = {"name": "s", "namespace": c.namespace, "uid": made["metadata"]["uid"]}
    done = await c.gateway.apply(SECRET, {"metadata": metadata, "data": {"b": "Qg=="}})
    assert done["data"] == {"a": "QQ==", "b": "Qg=="}
    await c.delete(made, SECRET)
    with pytest.raises(ConflictError):
        await c.gateway.apply(SECRET, {"metadata": metadata, "data": {"b": "Qg=="}})
    assert await c.gone(SECRET, "s")
    remade = await c.gateway.apply(SECRET, {"metadata": metadata | {"uid": None}, "data": {"b": "Qg=="}})
    assert remade["metadata"]["uid"] != made["metadata"]["uid"]


@case
async def apply_needs_a_field_manager(c: Contract) -> None:
    answer = await c.apply_as("", CONFIG_MAP, _map(c, {"a": "1"}))
    assert 400 <= answer.status < 500
    assert await c.gone(CONFIG_MAP, "m")


@case
async def apply_merges_list_maps_by_key(c: Contract) -> None:
    await c.gateway.create(WIDGET, c.body("w", parts=[{"name": "a", "count": 1}, {"name": "b", "count": 1}]))
    body = c.body("w", parts=[{"name": "b", "count": 2}, {"name": "c", "count": 3}])
    done = await c.gateway.apply(WIDGET, body)
    parts = {part["name"]: part["count"] for part in done["spec"]["parts"]}
    assert parts == {"a": 1, "b": 2, "c": 3}
    done = await c.gateway.apply(WIDGET, c.body("w", parts=[{"name": "b", "count": 2}]))
    assert {part["name"] for part in done["spec"]["parts"]} == {"a", "b"}


@case
async def apply_replaces_other_lists_whole(c: Contract) -> None:
    await c.gateway.apply(WIDGET, c.body("w", tags=["a", "b"]))
    done = await c.gateway.apply(WIDGET, c.body("w", tags=["c"]))
    assert done["spec"]["tags"] == ["c"]
    done = await c.gateway.apply(WIDGET, c.body("w"))
    assert "tags" not in done["spec"]


@case
async def apply_leaves_the_status_alone(c: Contract) -> None:
    made = await c.widget()
    await c.gateway.replace_status(WIDGET, made | {"status": {"a": 1}})
    done = await c.gateway.apply(WIDGET, c.body("w", size=2) | {"status": {"a": 2}})
    assert done["status"] == {"a": 1}
    assert done["metadata"]["generation"] == 2


@case
async def apply_keeps_foreign_owners_and_finalizers(c: Contract) -> None:
    owner = await c.secret("owner")
    reference = {"apiVersion": "v1", "kind": "Secret", "name": "owner", "uid": owner["metadata"]["uid"]}
    await c.gateway.create(CONFIG_MAP, _map(c, {}, finalizers=["contract.test/theirs"]))
    done = await c.gateway.apply(CONFIG_MAP, _map(c, {"a": "1"}, ownerReferences=[reference]))
    assert done["metadata"]["finalizers"] == ["contract.test/theirs"]
    assert [entry["name"] for entry in done["metadata"]["ownerReferences"]] == ["owner"]
    done = await c.gateway.apply(CONFIG_MAP, _map(c, {"a": "1"}))
    assert "ownerReferences" not in done["metadata"]
    assert done["metadata"]["finalizers"] == ["contract.test/theirs"]
    await c.gateway.patch(CONFIG_MAP, "m", c.namespace, {"metadata": {"finalizers": None}})


@case
async def apply_is_validated(c: Contract) -> None:
    with pytest.raises(InvalidError):
        await c.gateway.apply(WIDGET, c.body("w", size=0))
    assert await c.gone(WIDGET, "w")
    await c.secret("t", type="kubernetes.io/tls", data={"tls.crt": "QQ==", "tls.key": "QQ=="})
    with pytest.raises(InvalidError):
        await c.gateway.apply(SECRET, {"metadata": {"name": "t", "namespace": c.namespace}, "type": "Opaque"})


@case
async def an_empty_apply_takes_nothing_from_a_lease(c: Contract) -> None:
    metadata = {"name": "l", "namespace": c.namespace}
    made = await c.gateway.apply(LEASE, {"metadata": metadata})
    await c.gateway.replace(names.LEASE, made | {"spec": {"holderIdentity": "a"}})
    again = await c.gateway.apply(LEASE, {"metadata": metadata})
    assert again["spec"]["holderIdentity"] == "a"
    assert again["metadata"]["uid"] == made["metadata"]["uid"]
