"""The admission policies that meshca ships, as data, and the test whether a cluster has them.

Decides who may ask for which identity and who asks for another cluster; who may write what the CA relies on
is decided in ``api.recordpolicy``. Every spec is written with all defaults of the API server, so that what
is read back equals what was shipped, and a single weakened field is seen.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from meshca.api import names, recordpolicy
from meshca.api.policyparts import AdmissionParameters, constraints, deny_unless, in_group, rule
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


# The garbage collector and others may change metadata: that is for RBAC to decide.
_SPEC_IS_NEW: Final = {
    "name": "spec-is-new",
    "expression": "request.operation == 'CREATE' || object.spec != oldObject.spec",
}


def _requester(parameters: AdmissionParameters) -> JSON:
    return {
        "failurePolicy": "Fail",
        "matchConstraints": constraints(rule(names.GROUP, ["CREATE", "UPDATE"], [names.LEAF.plural])),
        "matchConditions": [_SPEC_IS_NEW],
        "validations": [
            deny_unless(
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
    return deny_unless(
        f"request.userInfo.username == {account} || {may_create_tokens}",
        "the caller is neither this ServiceAccount nor allowed to create tokens for it",
        says="'user ' + request.userInfo.username + ' may not ask for certificates of ServiceAccount '"
        " + request.namespace + '/' + object.spec.serviceAccountName + "
        "': be that account, or have create on serviceaccounts/token for it'",
    )


def _tells_who_asks(parameters: AdmissionParameters) -> JSON:
    """Let nobody speak for somebody else, except those who bring back what a backup holds."""
    return deny_unless(
        "!has(object.spec.requester) || object.spec.requester == request.userInfo.username"
        f" || ({in_group(quoted(parameters.break_glass_group))})",
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
        "matchConstraints": constraints(rule(names.GROUP, ["CREATE", "UPDATE"], [names.INTERMEDIATE.plural])),
        "matchConditions": [
            _SPEC_IS_NEW,
            {
                "name": "not-a-restore",
                "expression": f"!({in_group(quoted(parameters.break_glass_group))})",
            },
        ],
        "validations": [_speaks_for_cluster(), _names_the_caller()],
    }


def _speaks_for_cluster() -> JSON:
    may_report = (
        f"authorizer.group({quoted(names.GROUP)}).resource({quoted(names.FEDERATED_CLUSTER.plural)})"
        ".subresource('status').name(object.spec.clusterName).check('patch').allowed()"
    )
    return deny_unless(
        may_report,
        "the caller does not speak for this cluster",
        says="'user ' + request.userInfo.username + ' may not ask for signers of cluster ' + "
        "object.spec.clusterName + ': it has no patch on the status of that FederatedCluster'",
    )


def _names_the_caller() -> JSON:
    return deny_unless(
        "has(object.spec.requester) && object.spec.requester == request.userInfo.username",
        "spec.requester must be the caller",
        says="'spec.requester must be the caller, ' + request.userInfo.username",
    )


def _requester_defaults() -> JSON:
    return {
        "failurePolicy": "Fail",
        "matchConstraints": constraints(
            rule(names.GROUP, ["CREATE"], [names.LEAF.plural, names.INTERMEDIATE.plural])
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
    RECORDS: recordpolicy.records,
    CA_SECRETS: recordpolicy.ca_secrets,
    INTERMEDIATES: _intermediates,
}
