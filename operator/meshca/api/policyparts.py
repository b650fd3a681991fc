"""What admission policies are put together from: matches and validations, with every default written out.

Decides nothing about who may do what: that is said by the policies themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from meshca.api.schema import quoted

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class AdmissionParameters:
    """Whom the policies trust: the operator's full user name, its namespace, the break-glass group."""

    operator_user: str
    operator_namespace: str
    break_glass_group: str


def rule(group: str, operations: list[str], resources: list[str], scope: str = "*") -> JSON:
    """Return a rule that matches operations on resources of a group."""
    return {
        "apiGroups": [group],
        "apiVersions": ["*"] if group else ["v1"],
        "operations": operations,
        "resources": resources,
        "scope": scope,
    }


def constraints(*rules: JSON, namespaces: JSON | None = None, objects: JSON | None = None) -> JSON:
    """Return match constraints with every default written out."""
    return {
        "matchPolicy": "Equivalent",
        "namespaceSelector": namespaces or {},
        "objectSelector": objects or {},
        "resourceRules": list(rules),
    }


def deny_unless(expression: str, message: str, *, says: str = "") -> JSON:
    """Return a validation; ``says`` is an expression for a message that names the request."""
    written: JSON = {"expression": expression, "message": message, "reason": "Forbidden"}
    return written | ({"messageExpression": says} if says else {})


def strangers(parameters: AdmissionParameters) -> JSON:
    """Match everybody but the operator and the break-glass group."""
    user, group = quoted(parameters.operator_user), quoted(parameters.break_glass_group)
    return {
        "name": "not-the-operator",
        "expression": f"request.userInfo.username != {user} && !({in_group(group)})",
    }


def in_group(group: str) -> str:
    """Return the expression that tells whether the caller is in a group (quoted)."""
    return f"has(request.userInfo.groups) && {group} in request.userInfo.groups"
