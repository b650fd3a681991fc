"""The status subresource, generation, and writes that change nothing."""

from __future__ import annotations

import json

from tests.contract.harness import WIDGET, Contract, case


@case
async def status_and_spec_are_written_apart(c: Contract) -> None:
    made = await c.widget(color="red")
    mixed = made | {"spec": {"size": 9}, "status": {"seen": "yes"}}
    mixed["metadata"] = made["metadata"] | {"labels": {"l": "1"}, "annotations": {"a": "1"}}
    await c.gateway.replace_status(WIDGET, mixed)
    found = await c.get()
    assert found["status"] == {"seen": "yes"}
    assert found["spec"] == made["spec"]
    assert "labels" not in found["metadata"]
    assert "annotations" not in found["metadata"]
    assert found["metadata"]["generation"] == 1

    await c.gateway.patch(
        WIDGET, "w", c.namespace, {"spec": {"size": 8}, "status": {"seen": "again"}}, subresource="status"
    )
    assert (await c.get())["spec"]["size"] == 1

    found = await c.get()
    changed = found | {"spec": {"size": 5}, "status": {"seen": "never"}}
    done = await c.gateway.replace(WIDGET, changed)
    assert done["status"] == {"seen": "again"}
    assert done["spec"]["size"] == 5
    done = await c.gateway.patch(WIDGET, "w", c.namespace, {"status": {"seen": "never"}})
    assert done["status"] == {"seen": "again"}


@case
async def a_status_needs_no_spec_beside_it(c: Contract) -> None:
    made = await c.widget(color="red")
    keep = ("name", "namespace", "resourceVersion")
    metadata = {key: made["metadata"][key] for key in keep}
    await c.gateway.replace_status(WIDGET, {"metadata": metadata, "status": {"a": 1}})
    found = await c.get()
    assert found["status"] == {"a": 1}
    assert found["spec"] == made["spec"]
    assert found["metadata"]["uid"] == made["metadata"]["uid"]
    await c.gateway.replace_status(
        WIDGET, {"metadata": metadata | {"resourceVersion": found["metadata"]["resourceVersion"]}}
    )
    assert "status" not in await c.get(), "PUT without a status removes it"


@case
async def the_answer_to_a_status_write_is_small_when_asked(c: Contract) -> None:
    made = await c.widget(color="red")
    answer = await c.transport.request(
        "PUT",
        f"{c.path(WIDGET)}/w/status",
        body=json.dumps(made | {"status": {"text": "x" * 5000}}).encode(),
        content_type="application/json",
        accept="application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
        timeout=5,
    )
    body = json.loads(answer.body)
    assert answer.status == 200
    assert body["kind"] == "PartialObjectMetadata"
    assert not body.keys() & {"spec", "status"}
    assert body["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]


@case
async def generation_counts_changes_of_the_spec_only(c: Contract) -> None:
    await c.widget()
    steps = (
        ({"metadata": {"labels": {"a": "1"}}}, "", 1),
        ({"spec": {"size": 2}}, "", 2),
        ({"spec": {"size": 2}}, "", 2),
        ({"status": {"a": 1}}, "status", 2),
        ({"metadata": {"generation": 40}}, "", 2),
        ({"spec": {"color": "red"}}, "", 3),
    )
    for patch, subresource, generation in steps:
        done = await c.gateway.patch(WIDGET, "w", c.namespace, patch, subresource=subresource)
        assert done["metadata"]["generation"] == generation, patch
    assert "generation" not in (await c.secret())["metadata"]


@case
async def writing_what_is_there_already_changes_no_version(c: Contract) -> None:
    await c.widget(color="red")
    made = await c.gateway.patch(WIDGET, "w", c.namespace, {"status": {"a": 1}}, subresource="status")
    version = made["metadata"]["resourceVersion"]
    assert (await c.gateway.replace(WIDGET, made))["metadata"]["resourceVersion"] == version
    await c.gateway.replace_status(WIDGET, made)
    for patch, subresource in (
        ({}, ""),
        ({"spec": {"color": "red"}}, ""),
        ({"status": {"a": 1}}, "status"),
        ({"spec": {"nothing": None}}, ""),
    ):
        done = await c.gateway.patch(WIDGET, "w", c.namespace, patch, subresource=subresource)
        assert done["metadata"]["resourceVersion"] == version, patch
    assert (await c.get())["metadata"]["resourceVersion"] == version
