"""The shipped policies, and what counts as having them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from meshca.api.admission import (
    CA_SECRETS,
    RECORDS,
    REQUESTER,
    VALIDATING,
    as_shipped,
    mutating_binding,
    mutating_policy,
    policy_digest,
    validating_binding,
    validating_policy,
)
from meshca.api.policyparts import AdmissionParameters

if TYPE_CHECKING:
    from collections.abc import Callable

JSON = dict[str, Any]
PARAMETERS = AdmissionParameters(
    "system:serviceaccount:meshca-system:meshca", "meshca-system", "meshca:break-glass"
)


def test_the_names_are_fixed() -> None:
    assert VALIDATING == (
        "requester.meshca.dev",
        "records.meshca.dev",
        "ca-secrets.meshca.dev",
        "intermediates.meshca.dev",
    )
    assert mutating_policy()["metadata"]["name"] == "requester-defaults.meshca.dev"
    assert mutating_binding()["spec"] == {"policyName": "requester-defaults.meshca.dev"}


@pytest.mark.parametrize("name", VALIDATING)
def test_what_was_shipped_is_as_shipped_whatever_metadata_and_status_say(name: str) -> None:
    policy, binding = validating_policy(name, PARAMETERS), validating_binding(name)
    policy["metadata"] |= {"uid": "u", "labels": {"a": "b"}, "generation": 7}
    policy["status"] = {"observedGeneration": 7}
    assert as_shipped(policy, binding, PARAMETERS)


def _set(*path: str | int, to: Any) -> Callable[[JSON], None]:
    def change(target: Any) -> None:
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = to

    return change


WEAKENED: list[tuple[str, Callable[[JSON], None], Callable[[JSON], None]]] = [
    ("audit-only", lambda _: None, _set("spec", "validationActions", to=["Audit"])),
    ("warn-too", lambda _: None, _set("spec", "validationActions", to=["Deny", "Warn"])),
    ("other-policy", lambda _: None, _set("spec", "policyName", to="x")),
    ("narrowed-binding", lambda _: None, _set("spec", "matchResources", to={"objectSelector": {}})),
    ("ignored-failures", _set("spec", "failurePolicy", to="Ignore"), lambda _: None),
    ("always-true", _set("spec", "validations", 1, "expression", to="true"), lambda _: None),
    ("excused", _set("spec", "matchConditions", 0, "expression", to="false"), lambda _: None),
    ("excluded", _set("spec", "matchConstraints", "excludeResourceRules", to=[{}]), lambda _: None),
    ("policy-going", _set("metadata", "deletionTimestamp", to="2030-01-01T00:00:00Z"), lambda _: None),
    ("binding-going", lambda _: None, _set("metadata", "deletionTimestamp", to="2030-01-01T00:00:00Z")),
    ("renamed", _set("metadata", "name", to="x"), lambda _: None),
    ("renamed-binding", lambda _: None, _set("metadata", "name", to="x")),
    ("no-metadata", _set("metadata", to=None), lambda _: None),
    ("no-spec", lambda policy: policy.pop("spec"), lambda _: None),
]


@pytest.mark.parametrize(
    ("on_policy", "on_binding"), [row[1:] for row in WEAKENED], ids=[row[0] for row in WEAKENED]
)
@pytest.mark.parametrize("name", VALIDATING)
def test_a_weakened_policy_or_binding_is_noticed(
    name: str, on_policy: Callable[[JSON], None], on_binding: Callable[[JSON], None]
) -> None:
    policy, binding = copy.deepcopy(validating_policy(name, PARAMETERS)), validating_binding(name)
    on_policy(policy)
    on_binding(binding)
    assert not as_shipped(policy, binding, PARAMETERS)


@pytest.mark.parametrize(
    "other",
    [
        AdmissionParameters("system:serviceaccount:x:y", "meshca-system", "meshca:break-glass"),
        AdmissionParameters(PARAMETERS.operator_user, "meshca-system", "everybody"),
    ],
)
def test_a_policy_that_trusts_somebody_else_is_not_ours(other: AdmissionParameters) -> None:
    assert not as_shipped(validating_policy(RECORDS, other), validating_binding(RECORDS), PARAMETERS)


def test_the_digest_follows_the_specs_and_nothing_else() -> None:
    policy, binding = validating_policy(REQUESTER, PARAMETERS), validating_binding(REQUESTER)
    before = policy_digest(policy, binding)
    policy["metadata"]["uid"] = "u"
    assert policy_digest(policy, binding) == before
    policy["spec"]["failurePolicy"] = "Ignore"
    assert policy_digest(policy, binding) != before
    assert policy_digest({}, {}) != before


def test_quotes_in_a_parameter_stay_inside_their_literal() -> None:
    hostile = AdmissionParameters("x' || true || '", "n", "g\\")
    (condition,) = validating_policy(CA_SECRETS, hostile)["spec"]["matchConditions"]
    assert condition["expression"].startswith(r"request.userInfo.username != 'x\' || true || \'' && ")
    assert r"'g\\' in request.userInfo.groups" in condition["expression"]


def test_the_policy_of_keys_looks_only_at_secrets_of_the_operators_namespace() -> None:
    constraints = validating_policy(CA_SECRETS, PARAMETERS)["spec"]["matchConstraints"]
    assert constraints["namespaceSelector"] == {
        "matchLabels": {"kubernetes.io/metadata.name": PARAMETERS.operator_namespace}
    }
