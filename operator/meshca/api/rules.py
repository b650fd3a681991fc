"""CEL rules between fields, by kind and by the path of the object they stand at.

Decides what ``kubectl apply`` refuses beyond types and patterns; the models refuse the same, in the
same words, for objects that came in another way. Everything immutable is ruled at its parent, because
a rule on an optional field itself does not run when that field appears or vanishes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from meshca.api import names
from meshca.api.schema import quoted, raw
from meshca.api.v1alpha1.base import Model
from meshca.api.v1alpha1.caconfiguration import (
    DEFAULT_ROOT_TTL,
    SYSTEM_BUNDLE,
    SYSTEM_BUNDLE_SENTENCE,
    CAConfiguration,
)
from meshca.api.v1alpha1.caroot import CARoot
from meshca.api.v1alpha1.federation import FederatedCluster, IntermediateCertificateRequest
from meshca.api.v1alpha1.identity import (
    CIDR_SENTENCE,
    NAMESPACE,
    PATH_PATTERN,
    PATH_SENTENCE,
    SERVICE_ACCOUNT,
)
from meshca.api.v1alpha1.keys import CA_SIZES, LEAF_SIZES, KeyAlgorithm
from meshca.api.v1alpha1.leaf import CSR_HEADERS, IP_SENTENCE, LeafCertificateRequest
from meshca.api.v1alpha1.scalars import DURATION_PATTERN, format_duration

if TYPE_CHECKING:
    from meshca.api.v1alpha1.metadata import Object

JSON = dict[str, Any]
Rules = dict[str, list[JSON]]
NAME_MAX_LENGTH: Final = 63


def rule(expression: str, message: str, *, says: str = "", at: str = "") -> JSON:
    """Write one rule; ``says`` is a CEL expression for the message with values, ``at`` the field at fault."""
    written: JSON = {"rule": expression, "message": message}
    if says:
        written["messageExpression"] = says
    if at:
        written["fieldPath"] = at
    return written


def _seconds(path: str) -> str:
    return f"duration({path}).getSeconds()"


def _valid(*paths: str) -> str:
    """Hold off a comparison while a duration is none: its own rule says so already."""
    return " && ".join(f"{path}.matches({raw(DURATION_PATTERN)})" for path in paths)


def _at_least(path: str, field: str, seconds: int, text: str, *, at: str = "") -> JSON:
    return rule(
        f"!({_valid(path)}) || {_seconds(path)} >= {seconds}",
        f"{field} is below the minimum {text}",
        says=f"'{field} ' + {path} + ' is below the minimum {text}'",
        at=at,
    )


def _at_most(path: str, field: str, seconds: int, text: str, *, at: str = "") -> JSON:
    return rule(
        f"!({_valid(path)}) || {_seconds(path)} <= {seconds}",
        f"{field} is above the maximum {text}",
        says=f"'{field} ' + {path} + ' is above the maximum {text}'",
        at=at,
    )


def _word(field: str) -> str:
    """Escape the field names that CEL reserves."""
    return f"__{field}__" if field == "namespace" else field


def immutable(kind: type[Object], *fields: str) -> list[JSON]:
    """Rule that these fields (all of the spec without any) neither change, appear nor vanish."""
    spec = kind.model_fields["spec"].annotation
    assert isinstance(spec, type)
    assert issubclass(spec, Model)
    aliases = [field.alias or name for name, field in spec.model_fields.items()]
    return [
        rule(
            f"has(self.{_word(name)}) == has(oldSelf.{_word(name)}) && "
            f"(!has(self.{_word(name)}) || self.{_word(name)} == oldSelf.{_word(name)})",
            f"spec.{name} is immutable" + ("" if fields else f": make a new {kind.__name__}"),
            at=f".{name}",
        )
        for name in (fields or aliases)
    ]


def _key_sizes(field: str, sizes: dict[KeyAlgorithm, tuple[int, ...]]) -> list[JSON]:
    rules = []
    for algorithm, allowed in sizes.items():
        bound = ", ".join(map(str, allowed)) or "none, leave it out"
        rules.append(
            rule(
                f"self.algorithm != '{algorithm}' || !has(self.size) || self.size in {list(allowed)}"
                if allowed
                else f"self.algorithm != '{algorithm}' || !has(self.size)",
                f"{field}.size is not allowed for {algorithm}: allowed are {bound}",
                says=f"'{field}.size %d is not allowed for {algorithm}: allowed are {bound}'"
                ".format([self.size])",
                at=".size",
            )
        )
    return rules


# At the parent, because an error at the string itself would repeat it, key and all.
_CSR: Final = [
    rule(
        "!has(self.request) || !self.request.contains('PRIVATE KEY-----')",
        "spec.request holds a private key: treat that key as known to others, and send only the request",
        at=".request",
    ),
    rule(
        "!has(self.request) || "
        + " || ".join(f"self.request.contains('{header}')" for header in CSR_HEADERS),
        f"spec.request is no certificate request: {CSR_HEADERS[0]} is missing",
        at=".request",
    ),
]

# One object for each name: two clusters cannot be registered under one, and rights are given by it.
_CLUSTER_NAME: Final = rule(
    "self.metadata.name == self.spec.clusterName",
    "spec.clusterName must be metadata.name",
    says="'spec.clusterName ' + self.spec.clusterName + ' must be metadata.name, ' + self.metadata.name",
    at=".spec.clusterName",
)

_SELECTOR_EXPRESSION: Final = [
    rule(
        "(has(self.values) && self.values.size() > 0) == (self.operator in ['In', 'NotIn'])",
        "values do not fit operator: In and NotIn need some, others none",
        says="'values do not fit operator ' + self.operator + ': In and NotIn need some, others none'",
    )
]

_TRUST_DOMAIN: Final = [
    rule(
        "!has(oldSelf.trustDomain) || (has(self.trustDomain) && self.trustDomain == oldSelf.trustDomain)",
        "spec.trustDomain is immutable",
        says="'spec.trustDomain is immutable: it is ' + oldSelf.trustDomain + ' and cannot become ' + "
        "(has(self.trustDomain) ? self.trustDomain : 'absent')",
        at=".trustDomain",
    ),
]

_TRUST_DOMAIN_IN_FORCE: Final = rule(
    "!has(self.spec.trustDomain) || has(oldSelf.spec.trustDomain) || !has(oldSelf.status) || "
    "!has(oldSelf.status.trustDomain) || self.spec.trustDomain == oldSelf.status.trustDomain",
    "spec.trustDomain must be the trust domain in force",
    says="'spec.trustDomain ' + self.spec.trustDomain + ' is not ' + oldSelf.status.trustDomain + "
    "', the trust domain in force, which never changes'",
    at=".spec.trustDomain",
)

_SECONDARY: Final = "has(self.federation) && has(self.federation.primary)"


def _ca_spec() -> list[JSON]:
    ttl, longest = "self.intermediate.ttl", "self.leaf.maxTTL"
    leaf = f"(has({longest}) ? {longest} : self.leaf.ttl)"
    three = f"3 * {_seconds(leaf)}"
    root = f"(has(self.root) && has(self.root.ttl) ? self.root.ttl : '{format_duration(DEFAULT_ROOT_TTL)}')"
    return [
        *_TRUST_DOMAIN,
        rule(
            f"!({_valid(ttl, leaf)}) || {_seconds(ttl)} >= {three}",
            "spec.intermediate.ttl is below three times spec.leaf.maxTTL",
            says=f"'spec.intermediate.ttl %s is below the minimum %dh%dm%ds, three times spec.leaf.maxTTL'"
            f".format([{ttl}, {three} / 3600, {three} % 3600 / 60, {three} % 60])",
            at=".intermediate.ttl",
        ),
        rule(
            f"({_SECONDARY}) || !({_valid(root, ttl)}) || {_seconds(root)} >= {_seconds(ttl)}",
            "spec.root.ttl is below spec.intermediate.ttl",
            says=f"'spec.root.ttl ' + {root} + ' is below the minimum ' + {ttl} + ', spec.intermediate.ttl'",
        ),
        *(
            rule(
                f"!({_SECONDARY}) || !has(self.{name})",
                f"spec.{name} must be absent when spec.federation.primary is set",
                at=f".{name}",
            )
            for name in ("provider", "root", "rotation")
        ),
    ]


_LEAF_TTL: Final = [
    _at_least("self.ttl", "spec.leaf.ttl", 3600, "1h", at=".ttl"),
    _at_most("self.ttl", "spec.leaf.ttl", 365 * 86400, "8760h (365 days)", at=".ttl"),
    rule(
        f"!has(self.maxTTL) || !({_valid('self.ttl', 'self.maxTTL')}) || "
        f"{_seconds('self.maxTTL')} >= {_seconds('self.ttl')}",
        "spec.leaf.maxTTL is below spec.leaf.ttl",
        says="'spec.leaf.maxTTL ' + self.maxTTL + ' is below the minimum ' + self.ttl + ', spec.leaf.ttl'",
        at=".maxTTL",
    ),
    rule(
        f"!has(self.maxTTL) || !({_valid('self.maxTTL')}) || {_seconds('self.maxTTL')} <= {365 * 86400}",
        "spec.leaf.maxTTL is above the maximum 8760h (365 days)",
        says="'spec.leaf.maxTTL ' + self.maxTTL + ' is above the maximum 8760h (365 days)'",
        at=".maxTTL",
    ),
]

_ROOT: Final = [
    rule(
        "!has(self.renewBefore) || "
        f"!({_valid('self.renewBefore')}) || (has(self.ttl) && !({_valid('self.ttl')})) || "
        f"{_seconds('self.renewBefore')} < (has(self.ttl) ? {_seconds('self.ttl')} : "
        f"{int(DEFAULT_ROOT_TTL.total_seconds())})",
        "spec.root.renewBefore is not below spec.root.ttl",
        says="'spec.root.renewBefore ' + self.renewBefore + ' is not below spec.root.ttl ' + "
        f"(has(self.ttl) ? self.ttl : '{format_duration(DEFAULT_ROOT_TTL)}')",
        at=".renewBefore",
    )
]

_PATH: Final = [
    *(
        rule(
            f"self.split('/').filter(s, s == {quoted(word)}).size() == 1 && "
            f"self.split({quoted(word)}).size() == 2",
            f"must contain {word} once, as a whole segment",
            says=f"'\"' + self + '\" must contain {word} once, as a whole segment'",
        )
        for word in (NAMESPACE, SERVICE_ACCOUNT)
    ),
    rule(
        f"self.matches({raw(PATH_PATTERN)}) && !self.split('/').exists(s, s in ['.', '..'])",
        PATH_SENTENCE,
        says=f"'\"' + self + '\" ' + {quoted(PATH_SENTENCE)}",
    ),
]

_LEAF_REQUEST: Final = [
    *immutable(LeafCertificateRequest),
    *_CSR,
    rule(
        "has(self.request) != has(self.secretName)",
        "exactly one of spec.request and spec.secretName must be set",
        says="'exactly one of spec.request and spec.secretName must be set, not ' + "
        "(has(self.request) ? 'both' : 'none')",
    ),
    rule(
        "!has(self.privateKey) || has(self.secretName)",
        "spec.privateKey is only allowed with spec.secretName",
        at=".privateKey",
    ),
    rule(
        "!has(self.renewal) || !has(self.secretName) || self.renewal == 'Automatic'",
        "spec.renewal Manual is not allowed with spec.secretName: only Automatic is",
        at=".renewal",
    ),
]

_RESERVED_SECRET: Final = rule(
    f"!self.startsWith('{names.RESERVED_SECRET_PREFIX}')",
    f"must not start with {names.RESERVED_SECRET_PREFIX}",
    says=f"'\"' + self + '\" must not start with {names.RESERVED_SECRET_PREFIX}'",
)

_SYSTEM_CONFIG_MAP: Final = rule(f"self != '{SYSTEM_BUNDLE}'", SYSTEM_BUNDLE_SENTENCE)

_SHORT_NAME: Final = rule(
    f"self.metadata.name.size() <= {NAME_MAX_LENGTH}",
    f"metadata.name is too long, at most {NAME_MAX_LENGTH} characters are allowed",
    says=f"'metadata.name %s is %d characters long, at most {NAME_MAX_LENGTH} are allowed'"
    ".format([self.metadata.name, self.metadata.name.size()])",
)

_SELECTORS: Final = ("spec.identity.namespaceSelector", "spec.trustBundle.namespaceSelector")

RULES_BY_KIND: Final[dict[type[Object], Rules]] = {
    CAConfiguration: {
        "": [_SHORT_NAME, _TRUST_DOMAIN_IN_FORCE],
        "spec": _ca_spec(),
        "spec.privateKey": _key_sizes("spec.privateKey", CA_SIZES),
        "spec.root": _ROOT,
        "spec.intermediate": [_at_least("self.ttl", "spec.intermediate.ttl", 3 * 3600, "3h", at=".ttl")],
        "spec.leaf": _LEAF_TTL,
        "spec.identity.pathTemplate": _PATH,
        "spec.identity.ipAddresses[]": [
            rule(
                "isCIDR(self) && cidr(self) == cidr(self).masked()",
                CIDR_SENTENCE,
                says=f"'\"' + self + '\" ' + {quoted(CIDR_SENTENCE)}",
            )
        ],
        "spec.trustBundle": [
            rule(
                "self.configMapName == oldSelf.configMapName",
                "spec.trustBundle.configMapName is immutable",
                says="'spec.trustBundle.configMapName is immutable: it is ' + oldSelf.configMapName + "
                "' and cannot become ' + self.configMapName",
                at=".configMapName",
            )
        ],
        "spec.trustBundle.configMapName": [_SYSTEM_CONFIG_MAP],
        **{f"{selector}.matchExpressions[]": _SELECTOR_EXPRESSION for selector in _SELECTORS},
    },
    CARoot: {"spec": immutable(CARoot, "caConfigurationName", "certificate")},
    LeafCertificateRequest: {
        "spec": _LEAF_REQUEST,
        "spec.secretName": [_RESERVED_SECRET],
        "spec.ttl": [
            _at_least("self", "spec.ttl", 3600, "1h"),
            _at_most("self", "spec.ttl", 365 * 86400, "8760h (365 days)"),
        ],
        "spec.ipAddresses[]": [
            rule("isIP(self)", IP_SENTENCE, says=f"'\"' + self + '\" ' + {quoted(IP_SENTENCE)}")
        ],
        "spec.privateKey": _key_sizes("spec.privateKey", LEAF_SIZES),
    },
    IntermediateCertificateRequest: {
        "spec": [*immutable(IntermediateCertificateRequest), *_CSR],
    },
    FederatedCluster: {
        "": [_CLUSTER_NAME],
        "spec": immutable(FederatedCluster, "clusterName", "caConfigurationName", "namespace"),
        "spec.maxIntermediateTTL": [_at_least("self", "spec.maxIntermediateTTL", 3 * 3600, "3h")],
    },
}


def add_rules(kind: type[Object], schema: JSON) -> None:
    """Put the rules of a kind where they belong in the schema of the whole object."""
    for path, rules in RULES_BY_KIND[kind].items():
        place = schema
        for step in filter(None, path.split(".")):
            place = place["properties"][step.removesuffix("[]")]
            place = place["items"] if step.endswith("[]") else place
        place["x-kubernetes-validations"] = [*place.get("x-kubernetes-validations", ()), *rules]
