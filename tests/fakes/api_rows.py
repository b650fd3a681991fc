"""Specs that are refused and specs that are accepted: one table for the models and for the API server.

Each refused row says which parts (field, value, bound) the message must hold, whoever writes it.
"""

from __future__ import annotations

from typing import Any, Final

Spec = dict[str, Any]
Refused = tuple[str, Spec, list[str]]

CSR: Final = "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n"
PRIMARY: Final[Spec] = {"kubeconfigSecretName": "join", "bundleDigest": "0" * 64}
SECONDARY: Final[Spec] = {"federation": {"primary": PRIMARY}}
MANAGED: Final[Spec] = {"serviceAccountName": "cart", "secretName": "cart-tls"}
REQUEST: Final[Spec] = {"serviceAccountName": "cart", "request": CSR}


def _path(template: str) -> Spec:
    return {"identity": {"pathTemplate": template}}


def _key(algorithm: str, size: int) -> Spec:
    return {"privateKey": {"algorithm": algorithm, "size": size}}


CONFIGURATION_REFUSED: Final[list[Refused]] = [
    ("003", {"leaf": {"ttl": "59m"}}, ["spec.leaf.ttl", "59m", "1h"]),
    ("004", {"leaf": {"ttl": "8761h"}}, ["spec.leaf.ttl", "8761h", "8760h"]),
    ("004-max", {"leaf": {"maxTTL": "8761h"}}, ["spec.leaf.maxTTL", "8761h", "8760h"]),
    ("max-below-ttl", {"leaf": {"maxTTL": "71h"}}, ["spec.leaf.maxTTL", "71h", "72h"]),
    ("005", {"intermediate": {"ttl": "215h"}}, ["spec.intermediate.ttl", "215h", "216h"]),
    ("006", {"intermediate": {"ttl": "2h"}, "leaf": {"ttl": "1h"}}, ["spec.intermediate.ttl", "2h", "3h"]),
    ("007", {"root": {"ttl": "8759h"}}, ["spec.root.ttl", "8759h", "8760h"]),
    ("007-default-root", {"intermediate": {"ttl": "87601h"}}, ["spec.root.ttl", "87600h", "87601h"]),
    ("008", {"privateKey": {"algorithm": "DSA"}}, ["spec.privateKey.algorithm", "DSA", "ECDSA", "Ed25519"]),
    ("009-ec", _key("ECDSA", 257), ["spec.privateKey", "257", "224, 256, 384, 521"]),
    ("009-rsa", _key("RSA", 1024), ["spec.privateKey", "1024", "2048, 3072, 4096"]),
    ("010-rsa", _key("RSA", 256), ["spec.privateKey", "256", "2048, 3072, 4096"]),
    ("010-ec", _key("ECDSA", 2048), ["spec.privateKey", "2048", "224, 256, 384, 521"]),
    ("ed25519-size", _key("Ed25519", 256), ["spec.privateKey", "256", "leave it out"]),
    ("012", {"provider": {"type": "Vault"}}, ["spec.provider.type", "Vault", "Builtin"]),
    ("013-negative", {"limits": {"csrMaxPerSecond": -0.5}}, ["spec.limits.csrMaxPerSecond", "-0.5", "0"]),
    ("reissue", {"rotation": {"reissuePerSecond": 0}}, ["spec.rotation.reissuePerSecond", "greater than 0"]),
    ("days", {"leaf": {"ttl": "3d"}}, ["spec.leaf.ttl", "3d", "is no duration", "72h"]),
    ("sign", {"root": {"ttl": "-5h"}}, ["spec.root.ttl", "-5h", "is no duration"]),
    ("overflow", {"root": {"ttl": "9999999h"}}, ["spec.root.ttl", "9999999h", "is no duration"]),
    ("ID-02", {"trustDomain": ""}, ["spec.trustDomain", "at least 1 char"]),
    ("ID-03", {"trustDomain": "td:80"}, ["spec.trustDomain", "td:80", "no scheme or port"]),
    ("ID-03-user", {"trustDomain": "u@td"}, ["spec.trustDomain", "u@td"]),
    ("ID-04", {"trustDomain": "Mesh"}, ["spec.trustDomain", "Mesh", "lower-case"]),
    ("ID-05", {"trustDomain": "a%20b"}, ["spec.trustDomain", "a%20b"]),
    ("ID-13", {"trustDomain": "a" * 256}, ["spec.trustDomain", "255"]),
    ("name-64", {"clusterName": "a" * 64}, ["spec.clusterName", "63"]),
    ("renew-before", {"root": {"renewBefore": "87600h"}}, ["spec.root.renewBefore", "87600h"]),
    ("path-none", _path("/x"), ["spec.identity.pathTemplate", "/x", "{namespace}"]),
    ("path-part", _path("/ns-{namespace}/{serviceAccount}"), ["{namespace} once, as a whole segment"]),
    ("path-twice", _path("/{namespace}/{serviceAccount}/x{serviceAccount}"), ["{serviceAccount} once"]),
    ("path-dots", _path("/{namespace}/../{serviceAccount}"), ["neither '.' nor"]),
    ("path-end", _path("/{namespace}/{serviceAccount}/"), ["is no path template"]),
    ("path-word", _path("/{namespace}/{serviceAccount}/{x}"), ["is no path template"]),
    ("dns", {"identity": {"dnsNames": ["a..b"]}}, ["spec.identity.dnsNames[0]", "a..b", "is no DNS pattern"]),
    ("cidr-bits", {"identity": {"ipAddresses": ["10.0.0.1/8"]}}, ["identity.ipAddresses[0]", "10.0.0.1/8"]),
    ("cidr-none", {"identity": {"ipAddresses": ["10.0.0.0"]}}, ["identity.ipAddresses[0]", "10.0.0.0"]),
    ("items", {"identity": {"dnsNames": ["a"] * 33}}, ["spec.identity.dnsNames", "33", "32"]),
    (
        "selector",
        {"trustBundle": {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}},
        ["spec.trustBundle.namespaceSelector.matchExpressions[0]", "values do not fit operator In"],
    ),
    (
        "digest",
        {"federation": {"primary": PRIMARY | {"bundleDigest": "ab"}}},
        ["bundleDigest", "ab", "64 hex"],
    ),
    ("secondary-provider", SECONDARY | {"provider": {}}, ["spec.provider must be absent"]),
    ("secondary-root", SECONDARY | {"root": {}}, ["spec.root must be absent"]),
    ("secondary-rotation", SECONDARY | {"rotation": {}}, ["spec.rotation must be absent"]),
    ("system-bundle", {"trustBundle": {"configMapName": "kube-root-ca.crt"}}, ["belongs to Kubernetes"]),
]

CONFIGURATION_ACCEPTED: Final[list[tuple[str, Spec]]] = [
    ("001-empty", {}),
    ("002-forms", {"leaf": {"ttl": "72h0m0s"}, "root": {"ttl": "100000.5h"}}),
    ("003-at-bound", {"leaf": {"ttl": "1h"}, "intermediate": {"ttl": "3h"}}),
    ("004-at-bound", {"leaf": {"ttl": "1h", "maxTTL": "8760h"}, "intermediate": {"ttl": "26280h"}}),
    ("007-at-bound", {"intermediate": {"ttl": "87600h"}}),
    ("013-fraction", {"limits": {"csrMaxPerSecond": 0.5, "csrMaxConcurrent": 4}}),
    ("013-integer", {"limits": {"csrMaxPerSecond": 50}}),
    ("013-off", {"limits": {"csrMaxPerSecond": 0, "csrMaxConcurrent": 0}}),
    ("ID-13-at-bound", {"trustDomain": "a" * 255}),
    ("ID-14", {"trustDomain": "10.0.0.1"}),
    ("ID-04-all", {"trustDomain": "a-b_c.9"}),
    ("path-consul", _path("/ns/{namespace}/dc/{clusterName}/svc/{serviceAccount}")),
    ("path-part", _path("/dc-{clusterName}/{serviceAccount}/{namespace}")),
    ("names", {"identity": {"dnsNames": ["*.{namespace}.svc"], "ipAddresses": ["10.0.0.0/8", "fd00::/8"]}}),
    ("rotation", {"rotation": {"trigger": "1", "forceWithoutCrossSigning": "1", "deadline": "1h"}}),
    ("secondary", SECONDARY | {"intermediate": {"ttl": "200000h"}}),
    ("no-primary", {"federation": {}, "root": {}}),
    ("imported", {"provider": {"type": "Builtin", "builtin": {"rootSecretName": "my-root"}}}),
    *((f"009-ec-{size}", _key("ECDSA", size)) for size in (224, 256, 384, 521)),
    *((f"009-rsa-{size}", _key("RSA", size)) for size in (2048, 3072, 4096)),
    ("009-ed25519", {"privateKey": {"algorithm": "Ed25519"}}),
]

LEAF_REFUSED: Final[list[Refused]] = [
    ("neither", {"serviceAccountName": "a"}, ["spec.request", "spec.secretName", "none"]),
    ("both", MANAGED | {"request": CSR}, ["spec.request", "spec.secretName", "both"]),
    ("reserved", MANAGED | {"secretName": "meshca-x"}, ["spec.secretName", "meshca-x", "start with meshca-"]),
    ("key-with-csr", REQUEST | {"privateKey": {}}, ["spec.privateKey", "spec.secretName"]),
    ("manual-managed", MANAGED | {"renewal": "Manual"}, ["spec.renewal", "Manual", "Automatic"]),
    ("renewal", REQUEST | {"renewal": "Never"}, ["spec.renewal", "Never", "Manual", "Automatic"]),
    ("key-224", MANAGED | _key("ECDSA", 224), ["spec.privateKey", "224", "256, 384, 521"]),
    ("key-rsa-1024", MANAGED | _key("RSA", 1024), ["spec.privateKey", "1024", "2048"]),
    ("ttl-short", MANAGED | {"ttl": "59m"}, ["spec.ttl", "59m", "1h"]),
    ("ttl-long", MANAGED | {"ttl": "8761h"}, ["spec.ttl", "8761h", "8760h"]),
    ("ttl-none", MANAGED | {"ttl": "soon"}, ["spec.ttl", "soon", "is no duration"]),
    ("no-header", REQUEST | {"request": "nonsense"}, ["spec.request", "BEGIN CERTIFICATE REQUEST"]),
    ("csr-size", REQUEST | {"request": CSR + "x" * 16384}, ["spec.request", "16384"]),
    ("ip", MANAGED | {"ipAddresses": ["10.0.0"]}, ["spec.ipAddresses[0]", "10.0.0", "address"]),
    ("ip-zone", MANAGED | {"ipAddresses": ["fe80::1%eth0"]}, ["spec.ipAddresses[0]", "fe80::1%eth0"]),
    ("ip-mapped", MANAGED | {"ipAddresses": ["::ffff:1.2.3.4"]}, ["spec.ipAddresses[0]", "::ffff:1.2.3.4"]),
    ("dns", MANAGED | {"dnsNames": ["*.shop"]}, ["spec.dnsNames[0]", "*.shop", "is no DNS name"]),
    ("items", MANAGED | {"dnsNames": ["a"] * 33}, ["spec.dnsNames", "33", "32"]),
    ("account", MANAGED | {"serviceAccountName": "Cart"}, ["spec.serviceAccountName", "Cart"]),
    ("configuration", MANAGED | {"caConfigurationName": "a" * 64}, ["spec.caConfigurationName", "63"]),
]

LEAF_ACCEPTED: Final[list[tuple[str, Spec]]] = [
    ("managed", MANAGED | {"renewal": "Automatic", "privateKey": {"algorithm": "RSA", "size": 2048}}),
    ("csr", REQUEST | {"ttl": "1h", "renewal": "Automatic"}),
    ("new-header", REQUEST | {"request": CSR.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")}),
    ("names", MANAGED | {"dnsNames": ["a.b"], "ipAddresses": ["10.0.0.1", "fd00::1"]}),
    *((f"key-{size}", MANAGED | _key("ECDSA", size)) for size in (256, 384, 521)),
    ("key-ed25519", MANAGED | {"privateKey": {"algorithm": "Ed25519"}}),
]
