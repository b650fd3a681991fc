"""Deletion, finalizers, owners, namespaces that end."""

from __future__ import annotations

import json

import pytest

from meshca.api.names import CONFIG_MAP, NAMESPACE, SECRET
from meshca.errors import AlreadyExistsError, ConflictError, ForbiddenError, InvalidError
from tests.contract.harness import GADGET, WIDGET, Contract, case

FINALIZER = "contract.test/hold"


@case
async def a_delete_has_preconditions(c: Contract) -> None:
    for resource, item in ((WIDGET, await c.widget()), (SECRET, await c.secret())):
        name, uid = item["metadata"]["name"], item["metadata"]["uid"]
        with pytest.raises(ConflictError):
            await c.gateway.delete(resource, name, c.namespace, uid="11111111-2222-3333-4444-555555555555")
        await c.gateway.patch(resource, name, c.namespace, {"metadata": {"labels": {"a": "1"}}})
        with pytest.raises(ConflictError):
            await c.gateway.delete(
                resource, name, c.namespace, uid=uid, resource_version=item["metadata"]["resourceVersion"]
            )
        version = (await c.get(name, resource))["metadata"]["resourceVersion"]
        await c.gateway.delete(resource, name, c.namespace, uid=uid, resource_version=version)
        assert await c.gone(resource, name)


@case
async def an_object_made_anew_is_another_one(c: Contract) -> None:
    first = await c.widget()
    await c.delete(first)
    second = await c.widget()
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    with pytest.raises(ConflictError):
        await c.delete(first)
    with pytest.raises(ConflictError):
        await c.gateway.replace(WIDGET, first)


async def _held(c: Contract, name: str = "w") -> dict[str, dict[str, object]]:
    body = c.body(name)
    body["metadata"]["finalizers"] = [FINALIZER, "contract.test/other"]
    return await c.gateway.create(WIDGET, body)


@case
async def finalizers_hold_an_object(c: Contract) -> None:
    made = await _held(c)
    since = await c.version()
    await c.delete(made)
    marked = await c.get()
    assert marked["metadata"]["deletionTimestamp"]
    assert marked["metadata"]["generation"] == 2
    await c.delete(made)
    assert (await c.get())["metadata"]["resourceVersion"] == marked["metadata"]["resourceVersion"]
    with pytest.raises(AlreadyExistsError):
        await c.widget()
    patch = {"metadata": {"finalizers": [FINALIZER]}}
    await c.gateway.patch(WIDGET, "w", c.namespace, patch)
    await c.gateway.patch(WIDGET, "w", c.namespace, {"metadata": {"finalizers": None}})
    assert await c.gone(WIDGET, "w")
    events = await c.events(3, since=since)
    assert [event.type for event in events] == ["MODIFIED", "MODIFIED", "DELETED"]
    assert events[-1].object["metadata"]["uid"] == made["metadata"]["uid"]


@case
async def no_finalizer_is_added_to_what_is_being_deleted(c: Contract) -> None:
    await c.delete(await _held(c))
    with pytest.raises(InvalidError):
        await c.gateway.patch(
            WIDGET,
            "w",
            c.namespace,
            {"metadata": {"finalizers": [FINALIZER, "contract.test/other", "contract.test/new"]}},
        )
    done = await c.gateway.patch(WIDGET, "w", c.namespace, {"status": {"a": 1}}, subresource="status")
    assert done["status"] == {"a": 1}, "what is being deleted can still be written to"
    await c.gateway.patch(WIDGET, "w", c.namespace, {"metadata": {"finalizers": []}})
    assert await c.gone(WIDGET, "w")


@case
async def a_put_without_finalizers_lets_go(c: Contract) -> None:
    await c.delete(await _held(c))
    found = await c.get()
    del found["metadata"]["finalizers"]
    await c.gateway.replace(WIDGET, found)
    assert await c.gone(WIDGET, "w")


def _owned(c: Contract, name: str, *owners: dict[str, object]) -> dict[str, object]:
    references = [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],  # type: ignore[index]
            "uid": owner["metadata"]["uid"],  # type: ignore[index]
        }
        for owner in owners
    ]
    return {"metadata": {"name": name, "namespace": c.namespace, "ownerReferences": references}}


@case
async def what_nobody_owns_any_more_is_collected(c: Contract) -> None:
    first, second = await c.widget("first"), await c.widget("second")
    gadget = await c.gateway.create(GADGET, {"metadata": {"name": c.name()}, "spec": {"size": 1}})
    await c.gateway.create(SECRET, _owned(c, "of-first", first))
    await c.gateway.create(SECRET, _owned(c, "of-both", first, second))
    await c.gateway.create(SECRET, _owned(c, "of-gadget", gadget))
    await c.delete(first)

    async def collected() -> bool:
        return await c.gone(SECRET, "of-first")

    async def let_go() -> bool:
        owners = (await c.get("of-both", SECRET))["metadata"]["ownerReferences"]
        return [owner["name"] for owner in owners] == ["second"]

    await c.eventually(collected)
    await c.eventually(let_go)
    assert not await c.gone(SECRET, "of-gadget")
    await c.delete(gadget, GADGET)

    async def gadget_collected() -> bool:
        return await c.gone(SECRET, "of-gadget")

    await c.eventually(gadget_collected)


@case
async def an_owner_that_never_was_is_as_good_as_gone(c: Contract) -> None:
    ghost: dict[str, object] = {
        "apiVersion": "contract.test/v1",
        "kind": "Widget",
        "metadata": {"name": "ghost", "uid": "11111111-2222-3333-4444-555555555555"},
    }
    await c.gateway.create(SECRET, _owned(c, "orphan", ghost))

    async def collected() -> bool:
        return await c.gone(SECRET, "orphan")

    await c.eventually(collected)


@case
async def foreground_deletion_waits_for_what_is_owned(c: Contract) -> None:
    owner = await c.widget("owner")
    held = _owned(c, "held", owner)
    held["metadata"]["finalizers"] = [FINALIZER]  # type: ignore[index]
    # Only owners that block are waited for.
    held["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = True  # type: ignore[index]
    await c.gateway.create(SECRET, held)
    answer = await c.transport.request(
        "DELETE",
        f"{c.path(WIDGET)}/owner",
        body=json.dumps({"propagationPolicy": "Foreground"}).encode(),
        content_type="application/json",
        timeout=5,
    )
    assert answer.status == 200

    async def marked() -> bool:
        return "deletionTimestamp" in (await c.get("held", SECRET))["metadata"]

    async def over() -> bool:
        return await c.gone(WIDGET, "owner")

    await c.eventually(marked)
    assert (await c.get("owner"))["metadata"]["finalizers"] == ["foregroundDeletion"]
    await c.gateway.patch(SECRET, "held", c.namespace, {"metadata": {"finalizers": None}})
    await c.eventually(over)


@case
async def a_namespace_ends_with_its_content(c: Contract) -> None:
    name = c.name("ends")
    made = await c.gateway.create(NAMESPACE, {"metadata": {"name": name}})
    assert made["status"]["phase"] == "Active"
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": name}
    content = {"metadata": {"name": "m", "namespace": name}}
    await c.gateway.create(CONFIG_MAP, content)
    body = c.body("w")
    body["metadata"] |= {"namespace": name, "finalizers": [FINALIZER]}
    await c.gateway.create(WIDGET, body)
    await c.gateway.delete(NAMESPACE, name, uid=made["metadata"]["uid"])
    found = await c.gateway.get(NAMESPACE, name)
    assert found["status"]["phase"] == "Terminating"
    with pytest.raises(ForbiddenError) as caught:
        await c.gateway.create(CONFIG_MAP, {"metadata": {"name": "late", "namespace": name}})
    assert caught.value.reason == "NamespaceTerminating"

    async def marked() -> bool:
        found = await c.gateway.get(WIDGET, "w", name)
        return "deletionTimestamp" in found["metadata"]

    await c.eventually(marked)
    await c.gateway.patch(WIDGET, "w", name, {"metadata": {"finalizers": None}})

    async def over() -> bool:
        return await c.gone(NAMESPACE, name)

    await c.eventually(over)
    assert await c.gateway.list(CONFIG_MAP, name) == []
