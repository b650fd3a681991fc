"""What an admission policy that refuses looks like to whoever is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from meshca.api.names import VALIDATING_BINDING, VALIDATING_POLICY
from meshca.errors import ForbiddenError, InvalidError, MeshCAError
from meshca.kube.answers import failure
from tests.contract.harness import WIDGET, Contract, case

if TYPE_CHECKING:
    from meshca.kube.transport import Response

JSON = dict[str, Any]
SAYS = "this is not wanted"
UNWANTED = (
    "(has(object.spec.color) && object.spec.color == 'unwanted') || "
    "(has(object.status) && has(object.status.a) && object.status.a == 'unwanted')"
)


def _policy(c: Contract, name: str, reason: str) -> JSON:
    rule = {
        "apiGroups": [WIDGET.group],
        "apiVersions": [WIDGET.version],
        "operations": ["CREATE", "UPDATE"],
        "resources": [WIDGET.plural, f"{WIDGET.plural}/status"],
    }
    only_here = {"matchLabels": {"kubernetes.io/metadata.name": c.namespace}}
    validation = {"expression": f"!({UNWANTED})", "message": SAYS}
    return {
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule], "namespaceSelector": only_here},
            "validations": [validation | ({"reason": reason} if reason else {})],
        },
    }


async def _ask(c: Contract, method: str, path: str, body: JSON, content_type: str) -> Response:
    params = {"fieldManager": "contract", "force": "true"} if "apply" in content_type else {}
    whole = {"apiVersion": WIDGET.api_version, "kind": WIDGET.kind} | body
    return await c.transport.request(
        method,
        f"{c.path(WIDGET)}{path}",
        params=params,
        body=json.dumps(whole).encode(),
        content_type=content_type,
        timeout=5,
    )


async def _refuses(c: Contract, reason: str, code: int, error: type[MeshCAError]) -> None:
    name = c.name("contract")
    binding = {"policyName": name, "validationActions": ["Deny"]}
    made = await c.gateway.create(VALIDATING_POLICY, _policy(c, name, reason))
    bound = await c.gateway.create(VALIDATING_BINDING, {"metadata": {"name": name}, "spec": binding})
    if c.enforce is not None:
        c.enforce(name, SAYS, reason or "Invalid")
    held = await c.widget()
    bad, new = c.body("w", color="unwanted"), c.body("new", color="unwanted")
    stale = {"metadata": held["metadata"]}

    async def in_force() -> bool:
        """Tell whether it is refused already: a policy takes effect moments after it exists."""
        answer = await _ask(c, "POST", "", c.body(c.name(), color="unwanted"), "application/json")
        return answer.status != 201

    await c.eventually(in_force)
    status = {"status": {"a": "unwanted"}}
    apply = "application/apply-patch+yaml"
    rows = [
        ("new", await _ask(c, "POST", "", new, "application/json")),
        ("new", await _ask(c, "PATCH", "/new", new, apply)),
        ("w", await _ask(c, "PUT", "/w", bad | stale, "application/json")),
        ("w", await _ask(c, "PATCH", "/w", {"spec": bad["spec"]}, "application/merge-patch+json")),
        ("w", await _ask(c, "PATCH", "/w", bad, apply)),
        ("w", await _ask(c, "PUT", "/w/status", held | status, "application/json")),
        ("w", await _ask(c, "PATCH", "/w/status", status, "application/merge-patch+json")),
    ]
    why = f"ValidatingAdmissionPolicy '{name}' with binding '{name}' denied request: {SAYS}"
    for number, (whom, answer) in enumerate(rows):
        assert answer.status == code, (number, answer.body)
        found = json.loads(answer.body)
        assert (found["kind"], found["status"], found["code"]) == ("Status", "Failure", code)
        assert found["reason"] == (reason or "Invalid")
        assert found["message"] == f'widgets.contract.test "{whom}" is forbidden: {why}', number
        assert found["details"] == {
            "name": whom,
            "group": WIDGET.group,
            "kind": WIDGET.plural,
            "causes": [{"message": why}],
        }, number
        assert type(failure(answer, "write", write=True)) is error
    assert (await c.get())["metadata"]["resourceVersion"] == held["metadata"]["resourceVersion"]
    assert await c.gone(WIDGET, "new")
    await c.delete(bound, VALIDATING_BINDING)
    await c.delete(made, VALIDATING_POLICY)


@case
async def a_policy_refuses_writes_of_every_kind_with_its_reason(c: Contract) -> None:
    await _refuses(c, "Forbidden", 403, ForbiddenError)


@case
async def a_policy_without_a_reason_calls_writes_invalid(c: Contract) -> None:
    await _refuses(c, "", 422, InvalidError)
