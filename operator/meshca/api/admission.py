"""The admission policies that meshca ships, as data, and the test whether a cluster has them.

Decides who may ask for which identity, who asks for another cluster, who may write what the CA relies
on, and who may delete its keys. Every spec is written with all defaults of the API server, so that what
is read back equals what was shipped, and a single weakened field is seen.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshca.api import names
from meshca.api.schema import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON = dict[str, Any]
GROUP_VERSION: Final = "admissionregistration.k8s.io/v1"
REQUESTER: Final = f"requester.{names.GROUP}"
RECORDS: Final = f"records.{names.GROUP}"
CA_SECRETS: Final = f"ca-secrets.{names.GROUP}"
INTERMEDIATES: Final = f"intermediates.{names.GROUP}"
REQUESTER_DEFAULTS: Final = f"requester-defaults.{names.GROUP}"
VALIDATING: Final = (REQUESTER, RECORDS, CA_SECRETS, INTERMEDIATES)


@dataclass(frozen=True, slots=True)
class AdmissionParameters:
    """Whom the policies trust: the operator's full user name, its namespace, the break-glass group."""

    operator_user: str
    operator_namespace: str
    break_glass_group: str


def validating_policy(name: str, parameters: AdmissionParameters) -> JSON:
    """Return one of the ``VALIDATING`` policies."""
    return _object("ValidatingAdmissionPolicy", name, _SPECS[name](parameters))


def validating_binding(name: str) -> JSON:
    """Return the binding of one of the ``VALIDATING`` policies."""
    spec = {"policyName": name, "validationActions": ["Deny"]}
    return _object("ValidatingAdmissionPolicyBinding", name, spec)


def mutating_policy() -> JSON:
    """Return the policy that records the caller in ``spec.requester`` of a new request."""
    return _object("MutatingAdmissionPolicy", REQUESTER_DEFAULTS, _requester_defaults())


def mutating_binding() -> JSON:
    """Return the binding of the mutating policy."""
    return _object("MutatingAdmissionPolicyBinding", REQUESTER_DEFAULTS, {"policyName": REQUESTER_DEFAULTS})


def as_shipped(
    policy: Mapping[str, Any], binding: Mapping[str, Any], parameters: AdmissionParameters
) -> bool:
    """Tell whether a validating policy and its binding, as the API server shows them, are what we ship.

    Both may come from an untrusted user. A policy or binding that is being deleted is not as shipped.
    """
    name = _metadata(policy).get("name")
    if name not in VALIDATING or _metadata(binding).get("name") != name:
        return False
    if "deletionTimestamp" in _metadata(policy) or "deletionTimestamp" in _metadata(binding):
        return False
    shipped = validating_policy(name, parameters)["spec"], validating_binding(name)["spec"]
    return (policy.get("spec"), binding.get("spec")) == shipped


def policy_digest(policy: Mapping[str, Any], binding: Mapping[str, Any]) -> str:
    """Return a SHA-256 (hex) over both specs, whoever wrote them."""
    specs = [policy.get("spec"), binding.get("spec")]
    return hashlib.sha256(json.dumps(specs, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _metadata(observed: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = observed.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _object(kind: str, name: str, spec: JSON) -> JSON:
    return {"apiVersion": GROUP_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _rule(group: str, operations: list[str], resources: list[str], scope: str = "*") -> JSON:
    return {
        "apiGroups": [group],
        "apiVersions": ["*"] if group else ["v1"],
        "operations": operations,
        "resources": resources,
        "scope": scope,
    }


def _constraints(*rules: JSON, namespaces: JSON | None = None, objects: JSON | None = None) -> JSON:
    return {
        "matchPolicy": "Equivalent",
        "namespaceSelector": namespaces or {},
        "objectSelector": objects or {},
        "resourceRules": list(rules),
    }


def _deny_unless(expression: str, message: str, *, says: str = "") -> JSON:
    written: JSON = {"expression": expression, "message": message, "reason": "Forbidden"}
    return written | ({"messageExpression": says} if says else {})


def _strangers(parameters: AdmissionParameters) -> JSON:
    """Match everybody but the operator and the break-glass group."""
    user, group = quoted(parameters.operator_user), quoted(parameters.break_glass_group)
    return {
        "name": "not-the-operator",
        "expression": f"request.userInfo.username != {user} && !({_in_group(group)})",
    }


def _in_group(group: str) -> str:
    return f"has(request.userInfo.groups) && {group} in request.userInfo.groups"


# The garbage collector and others may change metadata: that is for RBAC to decide.
_SPEC_IS_NEW: Final = {
    "name": "spec-is-new",
    "expression": "request.operation == 'CREATE' || object.spec != oldObject.spec",
}


def _requester(parameters: AdmissionParameters) -> JSON:
    return {
        "failurePolicy": "Fail",
        "matchConstraints": _constraints(_rule(names.GROUP, ["CREATE", "UPDATE"], [names.LEAF.plural])),
        "matchConditions": [_SPEC_IS_NEW],
        "validations": [
            _deny_unless(
                f"request.namespace != {quoted(parameters.operator_namespace)}",
                "leaf certificates are not issued in the operator's own namespace",
            ),
            _acts_for_account(),
            _tells_who_asks(parameters),
        ],
    }


def _acts_for_account() -> JSON:
    account = "'system:serviceaccount:' + request.namespace + ':' + object.spec.serviceAccountName"
    may_create_tokens = (
        "authorizer.group('').resource('serviceaccounts').subresource('token')"
        ".namespace(request.namespace).name(object.spec.serviceAccountName).check('create').allowed()"
    )
    return _deny_unless(
        f"request.userInfo.username == {account} || {may_create_tokens}",
        "the caller is neither this ServiceAccount nor allowed to create tokens for it",
        says="'user ' + request.userInfo.username + ' may not ask for certificates of ServiceAccount '"
        " + request.namespace + '/' + object.spec.serviceAccountName + "
        "': be that account, or have create on serviceaccounts/token for it'",
    )


def _tells_who_asks(parameters: AdmissionParameters) -> JSON:
    """Let nobody speak for somebody else, except those who bring back what a backup holds."""
    return _deny_unless(
        "!has(object.spec.requester) || object.spec.requester == request.userInfo.username"
        f" || ({_in_group(quoted(parameters.break_glass_group))})",
        "spec.requester must be absent or the caller",
        says="'spec.requester ' + object.spec.requester + ' must be absent or the caller, ' + "
        "request.userInfo.username",
    )


def _intermediates(parameters: AdmissionParameters) -> JSON:
    """Let a request for another cluster in only from who reports for it, and with the caller's name on it.

    Whether that is the registered requester, in its namespace, is looked at when it is signed: the name on
    it stays, so that no moment between registering and signing matters.
    """
    return {
        "failurePolicy": "Fail",
        "matchConstraints": _constraints(
            _rule(names.GROUP, ["CREATE", "UPDATE"], [names.INTERMEDIATE.plural])
        ),
        "matchConditions": [
            _SPEC_IS_NEW,
            {
                "name": "not-a-restore",
                "expression": f"!({_in_group(quoted(parameters.break_glass_group))})",
            },
        ],
        "validations": [_speaks_for_cluster(), _names_the_caller()],
    }


def _speaks_for_cluster() -> JSON:
    may_report = (
        f"authorizer.group({quoted(names.GROUP)}).resource({quoted(names.FEDERATED_CLUSTER.plural)})"
        ".subresource('status').name(object.spec.clusterName).check('patch').allowed()"
    )
    return _deny_unless(
        may_report,
        "the caller does not speak for this cluster",
        says="'user ' + request.userInfo.username + ' may not ask for signers of cluster ' + "
        "object.spec.clusterName + ': it has no patch on the status of that FederatedCluster'",
    )


def _names_the_caller() -> JSON:
    return _deny_unless(
        "has(object.spec.requester) && object.spec.requester == request.userInfo.username",
        "spec.requester must be the caller",
        says="'spec.requester must be the caller, ' + request.userInfo.username",
    )


# The API server leaves the field out where there is no subresource.
_ON_STATUS: Final = "has(request.subResource) && request.subResource == 'status'"
_ON_ROOT: Final = f"request.resource.resource == '{names.CA_ROOT.plural}' && !({_ON_STATUS})"
_ROOT_CHANGES: Final = f"request.operation == 'UPDATE' && {_ON_ROOT}"


def _records(parameters: AdmissionParameters) -> JSON:
    return {
        "failurePolicy": "Fail",
        "matchConstraints": _constraints(
            _rule(names.GROUP, ["CREATE", "UPDATE", "DELETE"], [names.CA_ROOT.plural]),
            _rule(names.GROUP, ["UPDATE"], [f"{resource.plural}/status" for resource in names.OWN_RESOURCES]),
        ),
        "matchConditions": [_strangers(parameters)],
        "variables": [
            {"name": "annotations", "expression": _annotations("object")},
            {"name": "oldAnnotations", "expression": _annotations("oldObject")},
        ],
        "validations": [
            _status_is_ours(),
            _report_is_only_that(),
            _deny_unless(
                f"!(request.operation == 'CREATE' && {_ON_ROOT})",
                "CARoots are made by the meshca operator only",
            ),
            _deny_unless(
                f"!({_ROOT_CHANGES}) || object.spec == oldObject.spec",
                "the spec of a CARoot is written by the meshca operator only",
            ),
            _annotations_are_ours(),
            _finalizer_is_ours(),
            _active_root_stays(),
            _active_root_is_not_pruned(),
        ],
    }


def _status_is_ours() -> JSON:
    """Leave status to the operator, and that of a FederatedCluster to the secondary it stands for."""
    return _deny_unless(
        f"!({_ON_STATUS}) || "
        f"(request.resource.resource == '{names.FEDERATED_CLUSTER.plural}' && "
        "request.userInfo.username == oldObject.spec.requester.username)",
        "status is written by the meshca operator only",
        says="'the status of ' + request.resource.resource + ' is written by the meshca operator only, '"
        " + 'not by ' + request.userInfo.username",
    )


def _report_is_only_that() -> JSON:
    """Leave what the primary makes of a report to the operator."""
    ours = ("conditions", "observedGeneration", "intermediateTTL")
    same = " && ".join(
        f"has(object.status.{name}) == has(oldObject.status.{name}) && "
        f"(!has(object.status.{name}) || object.status.{name} == oldObject.status.{name})"
        for name in ours
    )
    return _deny_unless(
        f"!({_ON_STATUS} && request.resource.resource == '{names.FEDERATED_CLUSTER.plural}') || "
        f"(has(object.status) && has(oldObject.status) && {same})",
        "a report changes neither conditions nor observedGeneration nor intermediateTTL",
    )


def _annotations_are_ours() -> JSON:
    """Leave our annotations on CARoots alone, except the one by which a person asks for a prune."""
    ours = f"k.startsWith({quoted(names.GROUP + '/')}) && k != {quoted(names.ANNOTATION_PRUNE_NOW)}"
    return _deny_unless(
        f"!({_ROOT_CHANGES}) || ("
        f"variables.annotations.all(k, !({ours}) || (k in variables.oldAnnotations && "
        "variables.annotations[k] == variables.oldAnnotations[k])) && "
        f"variables.oldAnnotations.all(k, !({ours}) || k in variables.annotations))",
        f"{names.GROUP}/ annotations of a CARoot are records of the meshca operator; "
        f"only {names.ANNOTATION_PRUNE_NOW} may be set",
    )


def _finalizer_is_ours() -> JSON:
    finalizer = quoted(names.FINALIZER)
    return _deny_unless(
        f"!({_ROOT_CHANGES}) || ({_has_finalizer('object', finalizer)}) == "
        f"({_has_finalizer('oldObject', finalizer)})",
        f"finalizer {names.FINALIZER} is set and removed by the meshca operator only",
    )


def _active_root_stays() -> JSON:
    """Refuse to delete a root under which leaves are issued, by what its annotations record."""
    return _deny_unless(
        f"request.operation != 'DELETE' || !({quoted(names.ANNOTATION_ACTIVATED_AT)} in "
        f"variables.oldAnnotations) || {quoted(names.ANNOTATION_ROTATED_OUT_AT)} in variables.oldAnnotations",
        "this CARoot is active: rotate to another root before deleting it",
    )


def _active_root_is_not_pruned() -> JSON:
    """Refuse to take a wish that cannot be granted, and that nobody may remember later."""
    wish = quoted(names.ANNOTATION_PRUNE_NOW)
    return _deny_unless(
        f"!({_ROOT_CHANGES}) || !({wish} in variables.annotations) || "
        f"({wish} in variables.oldAnnotations && "
        f"variables.annotations[{wish}] == variables.oldAnnotations[{wish}]) || "
        f"!({quoted(names.ANNOTATION_ACTIVATED_AT)} in variables.oldAnnotations) || "
        f"{quoted(names.ANNOTATION_ROTATED_OUT_AT)} in variables.oldAnnotations",
        "this CARoot is active: rotate to another root before having it pruned",
    )


def _annotations(whose: str) -> str:
    return f"{whose} != null && has({whose}.metadata.annotations) ? {whose}.metadata.annotations : {{}}"


def _has_finalizer(whose: str, finalizer: str) -> str:
    return f"has({whose}.metadata.finalizers) && {finalizer} in {whose}.metadata.finalizers"


def _ca_secrets(parameters: AdmissionParameters) -> JSON:
    label = quoted(names.LABEL_KEY_ROLE)
    same = (
        f"has(object.metadata.labels) && {label} in object.metadata.labels && "
        f"has(oldObject.metadata.labels) && {label} in oldObject.metadata.labels && "
        f"object.metadata.labels[{label}] == oldObject.metadata.labels[{label}]"
    )
    return {
        "failurePolicy": "Fail",
        "matchConstraints": _constraints(
            _rule("", ["UPDATE", "DELETE"], [names.SECRET.plural]),
            namespaces={"matchLabels": {"kubernetes.io/metadata.name": parameters.operator_namespace}},
            objects={"matchExpressions": [{"key": names.LABEL_KEY_ROLE, "operator": "Exists"}]},
        ),
        "matchConditions": [_strangers(parameters)],
        "validations": [
            _deny_unless(
                "request.operation != 'DELETE' || has(namespaceObject.metadata.deletionTimestamp)",
                "this Secret holds a key of the CA: only the meshca operator deletes it",
            ),
            _deny_unless(
                f"request.operation != 'UPDATE' || ({same})",
                f"label {names.LABEL_KEY_ROLE} is set and removed by the meshca operator only",
            ),
        ],
    }


def _requester_defaults() -> JSON:
    return {
        "failurePolicy": "Fail",
        "matchConstraints": _constraints(
            _rule(names.GROUP, ["CREATE"], [names.LEAF.plural, names.INTERMEDIATE.plural])
        ),
        "matchConditions": [
            {"name": "requester-is-absent", "expression": "has(object.spec) && !has(object.spec.requester)"}
        ],
        "mutations": [
            {
                "patchType": "ApplyConfiguration",
                "applyConfiguration": {
                    "expression": "Object{spec: Object.spec{requester: request.userInfo.username}}"
                },
            }
        ],
        "reinvocationPolicy": "Never",
    }


_SPECS: Final = {
    REQUESTER: _requester,
    RECORDS: _records,
    CA_SECRETS: _ca_secrets,
    INTERMEDIATES: _intermediates,
}
