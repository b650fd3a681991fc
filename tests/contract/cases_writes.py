"""Create, PUT and merge patch: preconditions, reasons, separation of status, generation."""

from __future__ import annotations

import json

import pytest

from meshca.api import names
from meshca.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidError,
    MeshCAError,
    MisconfiguredError,
    NotFoundError,
)
from tests.contract.harness import GADGET, NO_CORE, NO_GROUP, NOBODY, WIDGET, Contract, case


@case
async def create_answers_with_what_the_server_adds(c: Contract) -> None:
    body = c.body("w", color="red") | {"status": {"made": "up"}}
    body["metadata"] |= {"uid": "mine", "generation": 7, "creationTimestamp": "2001-01-01T00:00:00Z"}
    made = await c.gateway.create(WIDGET, body)
    metadata = made["metadata"]
    assert (made["apiVersion"], made["kind"]) == ("contract.test/v1", "Widget")
    assert metadata["generation"] == 1
    assert metadata["uid"] not in {"", "mine"}
    assert metadata["resourceVersion"]
    assert metadata["creationTimestamp"].endswith("Z")
    assert not metadata["creationTimestamp"].startswith("2001")
    assert "status" not in made, "a status cannot be brought along"
    assert made["spec"] == {"size": 1, "color": "red", "shape": "round"}, "defaults of the schema"
    found = await c.get()
    assert found["metadata"]["uid"] == metadata["uid"]
    assert found["metadata"]["resourceVersion"] == metadata["resourceVersion"]


@case
async def unknown_fields_are_pruned(c: Contract) -> None:
    made = await c.widget(unheard="of")
    assert "unheard" not in made["spec"]


@case
async def create_twice_is_already_exists(c: Contract) -> None:
    await c.widget()
    with pytest.raises(AlreadyExistsError) as caught:
        await c.widget()
    assert caught.value.reason == "AlreadyExists"


@case
async def create_in_a_namespace_that_is_not_there_is_not_found(c: Contract) -> None:
    body = c.body("w")
    body["metadata"]["namespace"] = "nowhere"
    with pytest.raises(NotFoundError, match='namespaces "nowhere" not found'):
        await c.gateway.create(WIDGET, body)


@case
async def generate_name_makes_a_name(c: Contract) -> None:
    made = await c.gateway.create(
        names.CONFIG_MAP, {"metadata": {"generateName": "cm-", "namespace": c.namespace}}
    )
    assert made["metadata"]["name"].startswith("cm-")
    assert len(made["metadata"]["name"]) == 8


@case
async def malformed_objects_are_invalid(c: Contract) -> None:
    for wrong in (
        {"size": 0},
        {"size": "one"},
        {"size": 1, "shape": "oval"},
        {"size": 1, "color": "x" * 21},
        {"size": 1, "tags": ["a"] * 4},
        {"size": None},
    ):
        with pytest.raises(InvalidError) as caught:
            await c.gateway.create(WIDGET, c.body("w") | {"spec": wrong})
        assert caught.value.reason == "Invalid", wrong
    with pytest.raises(InvalidError):
        await c.gateway.create(WIDGET, {"metadata": {"name": "w", "namespace": c.namespace}})
    with pytest.raises(InvalidError):
        await c.widget("Upper_Case")
    with pytest.raises(InvalidError):
        await c.gateway.create(WIDGET, {"metadata": {"namespace": c.namespace}, "spec": {"size": 1}})


@case
async def create_with_a_resource_version_is_refused(c: Contract) -> None:
    body = c.body("w")
    body["metadata"]["resourceVersion"] = "1"
    with pytest.raises(MeshCAError, match="resourceVersion should not be set"):
        await c.gateway.create(WIDGET, body)
    assert await c.gone(WIDGET, "w")


@case
async def a_kind_that_is_not_served_is_not_a_missing_object(c: Contract) -> None:
    for resource in (NOBODY, NO_GROUP, NO_CORE):
        with pytest.raises(MisconfiguredError):
            await c.get("x", resource)
        with pytest.raises(MisconfiguredError):
            await c.gateway.list(resource)
        with pytest.raises(MisconfiguredError):
            await c.gateway.create(resource, c.body("x"))


@case
async def what_is_not_there_is_not_found(c: Contract) -> None:
    body = c.body("w")
    body["metadata"]["resourceVersion"] = "1"
    calls = (
        lambda: c.get("w"),
        lambda: c.get("w", names.SECRET),
        lambda: c.gateway.replace(WIDGET, body),
        lambda: c.gateway.replace_status(WIDGET, body | {"status": {}}),
        lambda: c.gateway.patch(WIDGET, "w", c.namespace, {"spec": {"size": 2}}),
        lambda: c.gateway.patch(WIDGET, "w", c.namespace, {"status": {}}, subresource="status"),
        lambda: c.gateway.delete(WIDGET, "w", c.namespace, uid="x"),
        lambda: c.gateway.delete(names.SECRET, "w", c.namespace, uid="x"),
    )
    for call in calls:
        with pytest.raises(NotFoundError) as caught:
            await call()
        assert caught.value.reason == "NotFound"


@case
async def a_stale_resource_version_is_a_conflict_everywhere(c: Contract) -> None:
    old = await c.widget()
    await c.gateway.patch(WIDGET, "w", c.namespace, {"spec": {"size": 2}})
    stale = {"metadata": {"resourceVersion": old["metadata"]["resourceVersion"]}}
    calls = (
        lambda: c.gateway.replace(WIDGET, old),
        lambda: c.gateway.replace_status(WIDGET, old | {"status": {"a": 1}}),
        lambda: c.gateway.patch(WIDGET, "w", c.namespace, stale | {"spec": {"size": 3}}),
        lambda: c.gateway.patch(WIDGET, "w", c.namespace, stale | {"status": {"a": 1}}, subresource="status"),
        lambda: c.gateway.apply(
            WIDGET,
            c.body("w") | {"metadata": stale["metadata"] | {"name": "w", "namespace": c.namespace}},
        ),
    )
    for call in calls:
        with pytest.raises(ConflictError) as caught:
            await call()
        assert caught.value.reason == "Conflict"
    found = await c.get()
    assert found["spec"]["size"] == 2
    assert "status" not in found


@case
async def another_uid_is_a_conflict_everywhere(c: Contract) -> None:
    made = await c.widget()
    secret = await c.secret()
    for resource, item in ((WIDGET, made), (names.SECRET, secret)):
        name = item["metadata"]["name"]
        other = item | {"metadata": item["metadata"] | {"uid": "11111111-2222-3333-4444-555555555555"}}
        uid = {"metadata": {"uid": other["metadata"]["uid"]}}
        with pytest.raises(ConflictError) as caught:
            await c.gateway.replace(resource, other)
        assert caught.value.reason == "Conflict"
        with pytest.raises(ConflictError) as caught:
            await c.gateway.patch(resource, name, c.namespace, uid)
        assert caught.value.reason == "UIDMismatch", "422, where a PUT gets 409"
        with pytest.raises(ConflictError) as caught:
            await c.gateway.apply(
                resource, {"metadata": {"name": name, "namespace": c.namespace, **uid["metadata"]}}
            )
        assert caught.value.reason == "UIDMismatch"
    with pytest.raises(ConflictError):
        await c.gateway.replace_status(
            WIDGET, made | {"metadata": made["metadata"] | {"uid": "x"}, "status": {"a": 1}}
        )
    assert (await c.get())["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


@case
async def put_without_a_resource_version_depends_on_the_kind(c: Contract) -> None:
    await c.widget()
    with pytest.raises(InvalidError, match="must be specified for an update"):
        await c.gateway.replace(WIDGET, c.body("w", size=2))
    with pytest.raises(InvalidError, match="must be specified for an update"):
        await c.gateway.replace_status(WIDGET, c.body("w") | {"status": {"a": 1}})
    for resource in (names.SECRET, names.CONFIG_MAP):
        body = {"metadata": {"name": "u", "namespace": c.namespace}}
        await c.gateway.create(resource, body)
        done = await c.gateway.replace(resource, body | {"data": {"k": "QQ=="}})
        assert done["data"] == {"k": "QQ=="}


@case
async def put_of_a_lease_makes_it_once(c: Contract) -> None:
    body = {"metadata": {"name": "lease", "namespace": c.namespace}, "spec": {"holderIdentity": "a"}}
    made = await c.gateway.replace(names.LEASE, body)
    assert made["spec"]["holderIdentity"] == "a"
    with pytest.raises(InvalidError):
        await c.gateway.replace(names.LEASE, body | {"spec": {"holderIdentity": "b"}})


@case
async def put_of_another_kind_or_name_is_refused(c: Contract) -> None:
    made = await c.widget()
    rows: tuple[tuple[dict[str, object], int], ...] = (
        ({"kind": "Gadget"}, 422),
        ({"apiVersion": "contract.test/v9"}, 400),
        ({"metadata": made["metadata"] | {"name": "other"}}, 400),
        ({"metadata": made["metadata"] | {"namespace": "other"}}, 400),
    )
    for change, code in rows:
        answer = await c.transport.request(
            "PUT",
            f"{c.path(WIDGET)}/w",
            body=json.dumps(made | change).encode(),
            content_type="application/json",
            timeout=5,
        )
        assert answer.status == code, change


@case
async def merge_patch_removes_with_null_and_replaces_lists(c: Contract) -> None:
    await c.widget(color="red", tags=["a", "b"])
    done = await c.gateway.patch(
        WIDGET, "w", c.namespace, {"spec": {"color": None, "tags": ["c"]}, "metadata": {"labels": {"x": "1"}}}
    )
    assert "color" not in done["spec"]
    assert done["spec"]["tags"] == ["c"]
    assert done["metadata"]["labels"] == {"x": "1"}
    done = await c.gateway.patch(WIDGET, "w", c.namespace, {"metadata": {"labels": None}})
    assert "labels" not in done["metadata"]


@case
async def a_patch_is_validated(c: Contract) -> None:
    await c.widget()
    for patch in ({"spec": {"size": 0}}, {"spec": None}):
        with pytest.raises(InvalidError):
            await c.gateway.patch(WIDGET, "w", c.namespace, patch)
    with pytest.raises(InvalidError):
        await c.gateway.patch(WIDGET, "w", c.namespace, {"metadata": {"name": "other"}})


@case
async def server_fields_cannot_be_changed(c: Contract) -> None:
    made = (await c.widget())["metadata"]
    patch = {"metadata": {"creationTimestamp": "2001-01-01T00:00:00Z", "generation": 44, "selfLink": "x"}}
    done = (await c.gateway.patch(WIDGET, "w", c.namespace, patch))["metadata"]
    assert done["creationTimestamp"] == made["creationTimestamp"]
    assert done["resourceVersion"] == made["resourceVersion"]
    for change in ({"deletionTimestamp": "2001-01-01T00:00:00Z"}, {"name": "other"}, {"namespace": "other"}):
        with pytest.raises(InvalidError):
            await c.gateway.patch(WIDGET, "w", c.namespace, {"metadata": change})
    assert "deletionTimestamp" not in (await c.get())["metadata"]


@case
async def a_content_type_that_is_not_known_is_refused(c: Contract) -> None:
    await c.widget()
    answer = await c.transport.request(
        "PATCH", f"{c.path(WIDGET)}/w", body=b"{}", content_type="application/json", timeout=5
    )
    assert answer.status == 415


@case
async def methods_that_do_not_fit_the_path_are_refused(c: Contract) -> None:
    made = await c.widget()
    for method, path in (("POST", f"{c.path(WIDGET)}/w"), ("PUT", c.path(WIDGET))):
        answer = await c.transport.request(
            method,
            path,
            body=json.dumps({"apiVersion": "contract.test/v1", "kind": "Widget"} | c.body("w")).encode(),
            content_type="application/json",
            timeout=5,
        )
        assert 400 <= answer.status < 500, method
    assert (await c.get())["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


@case
async def cluster_scoped_objects_have_no_namespace(c: Contract) -> None:
    name = c.name("g")
    made = await c.gateway.create(GADGET, {"metadata": {"name": name}, "spec": {"size": 1}})
    assert "namespace" not in made["metadata"]
    await c.gateway.replace_status(GADGET, made | {"status": {"a": 1}})
    found = await c.get(name, GADGET)
    assert found["status"] == {"a": 1}
    await c.delete(found, GADGET)
    assert await c.gone(GADGET, name)
