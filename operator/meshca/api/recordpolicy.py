"""Who may write what the CA relies on: CARoots, the status of every kind, the keys of CAs.

Decides which change of these the operator and the break-glass group alone may make, and what is left to
RBAC; a registered secondary writes its own report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from meshca.api import names
from meshca.api.policyparts import constraints, deny_unless, rule, strangers
from meshca.api.schema import quoted

if TYPE_CHECKING:
    from meshca.api.policyparts import AdmissionParameters

JSON = dict[str, Any]
# The API server leaves the field out where there is no subresource.
_ON_STATUS: Final = "has(request.subResource) && request.subResource == 'status'"
_ON_ROOT: Final = f"request.resource.resource == '{names.CA_ROOT.plural}' && !({_ON_STATUS})"
_ROOT_CHANGES: Final = f"request.operation == 'UPDATE' && {_ON_ROOT}"


def records(parameters: AdmissionParameters) -> JSON:
    """Return the policy over CARoots and the status of every kind."""
    return {
        "failurePolicy": "Fail",
        "matchConstraints": constraints(
            rule(names.GROUP, ["CREATE", "UPDATE", "DELETE"], [names.CA_ROOT.plural]),
            rule(names.GROUP, ["UPDATE"], [f"{resource.plural}/status" for resource in names.OWN_RESOURCES]),
        ),
        "matchConditions": [strangers(parameters)],
        "variables": [
            {"name": "annotations", "expression": _annotations("object")},
            {"name": "oldAnnotations", "expression": _annotations("oldObject")},
        ],
        "validations": [
            _status_is_ours(),
            _report_is_only_that(),
            deny_unless(
                f"!(request.operation == 'CREATE' && {_ON_ROOT})",
                "CARoots are made by the meshca operator only",
            ),
            deny_unless(
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
    return deny_unless(
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
    return deny_unless(
        f"!({_ON_STATUS} && request.resource.resource == '{names.FEDERATED_CLUSTER.plural}') || "
        f"(has(object.status) && has(oldObject.status) && {same})",
        "a report changes neither conditions nor observedGeneration nor intermediateTTL",
    )


def _annotations_are_ours() -> JSON:
    """Leave our annotations on CARoots alone, except the one by which a person asks for a prune."""
    ours = f"k.startsWith({quoted(names.GROUP + '/')}) && k != {quoted(names.ANNOTATION_PRUNE_NOW)}"
    return deny_unless(
        f"!({_ROOT_CHANGES}) || ("
        f"variables.annotations.all(k, !({ours}) || (k in variables.oldAnnotations && "
        "variables.annotations[k] == variables.oldAnnotations[k])) && "
        f"variables.oldAnnotations.all(k, !({ours}) || k in variables.annotations))",
        f"{names.GROUP}/ annotations of a CARoot are records of the meshca operator; "
        f"only {names.ANNOTATION_PRUNE_NOW} may be set",
    )


def _finalizer_is_ours() -> JSON:
    finalizer = quoted(names.FINALIZER)
    return deny_unless(
        f"!({_ROOT_CHANGES}) || ({_has_finalizer('object', finalizer)}) == "
        f"({_has_finalizer('oldObject', finalizer)})",
        f"finalizer {names.FINALIZER} is set and removed by the meshca operator only",
    )


def _active_root_stays() -> JSON:
    """Refuse to delete a root under which leaves are issued, by what its annotations record."""
    return deny_unless(
        f"request.operation != 'DELETE' || !({quoted(names.ANNOTATION_ACTIVATED_AT)} in "
        f"variables.oldAnnotations) || {quoted(names.ANNOTATION_ROTATED_OUT_AT)} in variables.oldAnnotations",
        "this CARoot is active: rotate to another root before deleting it",
    )


def _active_root_is_not_pruned() -> JSON:
    """Refuse to take a wish that cannot be granted, and that nobody may remember later."""
    wish = quoted(names.ANNOTATION_PRUNE_NOW)
    return deny_unless(
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


def ca_secrets(parameters: AdmissionParameters) -> JSON:
    """Return the policy over Secrets with a key of a CA."""
    label = quoted(names.LABEL_KEY_ROLE)
    same = (
        f"has(object.metadata.labels) && {label} in object.metadata.labels && "
        f"has(oldObject.metadata.labels) && {label} in oldObject.metadata.labels && "
        f"object.metadata.labels[{label}] == oldObject.metadata.labels[{label}]"
    )
    return {
        "failurePolicy": "Fail",
        "matchConstraints": constraints(
            rule("", ["UPDATE", "DELETE"], [names.SECRET.plural]),
            namespaces={"matchLabels": {"kubernetes.io/metadata.name": parameters.operator_namespace}},
            objects={"matchExpressions": [{"key": names.LABEL_KEY_ROLE, "operator": "Exists"}]},
        ),
        "matchConditions": [strangers(parameters)],
        "validations": [
            deny_unless(
                "request.operation != 'DELETE' || has(namespaceObject.metadata.deletionTimestamp)",
                "this Secret holds a key of the CA: only the meshca operator deletes it",
            ),
            deny_unless(
                f"request.operation != 'UPDATE' || ({same})",
                f"label {names.LABEL_KEY_ROLE} is set and removed by the meshca operator only",
            ),
        ],
    }
