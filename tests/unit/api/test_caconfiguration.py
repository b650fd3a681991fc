"""CAConfiguration: defaults, bounds, and errors that name field, value and bound."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from meshca.api.v1alpha1 import CAConfiguration, CAConfigurationSpec
from meshca.api.v1alpha1.caconfiguration import Leaf, Provider, ProviderType
from meshca.api.v1alpha1.keys import KeyAlgorithm, PrivateKey
from meshca.errors import InvalidError

PRIMARY = {"kubeconfigSecretName": "join", "bundleDigest": "0" * 64}


def read(spec: Any) -> CAConfiguration:
    return CAConfiguration.from_object({"metadata": {"name": "default"}, "spec": spec})


def test_001_an_empty_spec_has_the_documented_defaults() -> None:
    spec = read({}).spec
    assert (spec.trust_domain, spec.cluster_name) == (None, "default")
    assert (spec.private_key.algorithm, spec.private_key.effective_size) == (KeyAlgorithm.ECDSA, 256)
    assert spec.intermediate.ttl == timedelta(hours=8760)
    assert (spec.leaf.ttl, spec.leaf.max_ttl) == (timedelta(hours=72), timedelta(hours=72))
    assert spec.identity.path_template == "/ns/{namespace}/sa/{serviceAccount}"
    assert (spec.identity.dns_names, spec.identity.ip_addresses) == ((), ())
    assert (spec.limits.csr_max_per_second, spec.limits.csr_max_concurrent) == (0, 0)
    assert spec.trust_bundle.config_map_name == "meshca-trust-bundle"
    assert spec.identity.namespace_selector.matches({})


def test_001_provider_root_and_rotation_stay_absent_and_have_effective_defaults() -> None:
    spec = read({}).spec
    assert (spec.provider, spec.root, spec.rotation, spec.federation) == (None, None, None, None)
    assert spec.effective_provider.type is ProviderType.BUILTIN
    assert spec.effective_root.ttl == timedelta(hours=87600)
    assert spec.effective_root.effective_renew_before == timedelta(hours=17520)
    assert spec.effective_rotation.reissue_per_second == 50
    assert read({"root": {"renewBefore": "100h"}}).spec.effective_root.effective_renew_before == timedelta(
        hours=100
    )


def test_021_what_was_written_comes_back_and_defaults_do_not() -> None:
    written = {"leaf": {"ttl": "24h"}, "rotation": {"trigger": "1"}, "privateKey": {"algorithm": "RSA"}}
    assert read(written).spec.as_written() == written


def test_leaf_max_ttl_follows_ttl_unless_given() -> None:
    assert read({"leaf": {"ttl": "2h"}}).spec.leaf.max_ttl == timedelta(hours=2)
    assert read({"leaf": {"ttl": "2h", "maxTTL": "4h"}}).spec.leaf.max_ttl == timedelta(hours=4)


REFUSED: list[tuple[str, dict[str, Any], list[str]]] = [
    ("003", {"leaf": {"ttl": "59m"}}, ["spec.leaf.ttl", "59m", "1h"]),
    ("004", {"leaf": {"ttl": "8761h"}}, ["spec.leaf.ttl", "8761h", "8760h"]),
    ("004-max", {"leaf": {"maxTTL": "8761h"}}, ["spec.leaf.maxTTL", "8761h", "8760h"]),
    ("max-below-ttl", {"leaf": {"maxTTL": "71h"}}, ["spec.leaf.maxTTL", "71h", "72h"]),
    ("005", {"intermediate": {"ttl": "215h"}}, ["spec.intermediate.ttl", "215h", "216h"]),
    ("006", {"intermediate": {"ttl": "2h"}, "leaf": {"ttl": "1h"}}, ["spec.intermediate.ttl", "2h", "3h"]),
    ("007", {"root": {"ttl": "8759h"}}, ["spec.root.ttl", "8759h", "8760h"]),
    ("007-default-root", {"intermediate": {"ttl": "87601h"}}, ["spec.root.ttl", "87600h", "87601h"]),
    ("008", {"privateKey": {"algorithm": "DSA"}}, ["spec.privateKey.algorithm", "DSA", "Ed25519"]),
    ("009-ec", {"privateKey": {"size": 257}}, ["spec.privateKey", "257", "224, 256, 384, 521"]),
    ("009-rsa", {"privateKey": {"algorithm": "RSA", "size": 1024}}, ["1024", "2048, 3072, 4096"]),
    ("010-rsa", {"privateKey": {"algorithm": "RSA", "size": 256}}, ["256", "2048, 3072, 4096"]),
    ("010-ec", {"privateKey": {"algorithm": "ECDSA", "size": 2048}}, ["2048", "224, 256, 384, 521"]),
    ("ed25519-size", {"privateKey": {"algorithm": "Ed25519", "size": 256}}, ["256", "leave it out"]),
    ("012", {"provider": {"type": "Vault"}}, ["spec.provider.type", "Vault", "Builtin"]),
    ("013-negative", {"limits": {"csrMaxPerSecond": -0.5}}, ["spec.limits.csrMaxPerSecond", "-0.5", "0"]),
    ("no-duration", {"leaf": {"ttl": "3d"}}, ["spec.leaf.ttl", "3d", "72h"]),
    ("duration-number", {"leaf": {"ttl": 3600}}, ["spec.leaf.ttl", "3600", "72h"]),
    ("ID-02", {"trustDomain": ""}, ["spec.trustDomain", "1 character"]),
    ("ID-03", {"trustDomain": "td:80"}, ["spec.trustDomain", "td:80", "no scheme or port"]),
    ("ID-04", {"trustDomain": "Mesh"}, ["spec.trustDomain", "Mesh", "lower-case"]),
    ("ID-05", {"trustDomain": "a%20b"}, ["spec.trustDomain", "a%20b"]),
    ("ID-13", {"trustDomain": "a" * 256}, ["spec.trustDomain", "255"]),
    ("name-64", {"clusterName": "a" * 64}, ["spec.clusterName", "63"]),
    ("renew-before", {"root": {"renewBefore": "87600h"}}, ["spec.root.renewBefore", "87600h"]),
    ("path-none", {"identity": {"pathTemplate": "/x"}}, ["spec.identity.pathTemplate", "/x", "{namespace}"]),
    (
        "path-part",
        {"identity": {"pathTemplate": "/ns-{namespace}/{serviceAccount}"}},
        ["{namespace} once, as a whole segment"],
    ),
    (
        "path-twice",
        {"identity": {"pathTemplate": "/{namespace}/{serviceAccount}/x{serviceAccount}"}},
        ["{serviceAccount} once"],
    ),
    ("path-dots", {"identity": {"pathTemplate": "/{namespace}/../{serviceAccount}"}}, ["neither '.' nor"]),
    ("path-end", {"identity": {"pathTemplate": "/{namespace}/{serviceAccount}/"}}, ["no path template"]),
    ("path-word", {"identity": {"pathTemplate": "/{namespace}/{serviceAccount}/{x}"}}, ["no path template"]),
    ("dns", {"identity": {"dnsNames": ["a..b"]}}, ["spec.identity.dnsNames[0]", "a..b", "DNS pattern"]),
    (
        "cidr-bits",
        {"identity": {"ipAddresses": ["10.0.0.1/8"]}},
        ["spec.identity.ipAddresses[0]", "10.0.0.1/8"],
    ),
    ("cidr-none", {"identity": {"ipAddresses": ["10.0.0.0"]}}, ["spec.identity.ipAddresses[0]", "10.0.0.0"]),
    ("items", {"identity": {"dnsNames": ["a"] * 33}}, ["spec.identity.dnsNames", "32"]),
    (
        "digest",
        {"federation": {"primary": PRIMARY | {"bundleDigest": "ab"}}},
        ["bundleDigest", "ab", "64 hex"],
    ),
    (
        "missing",
        {"federation": {"primary": {}}},
        ["spec.federation.primary.kubeconfigSecretName is required"],
    ),
    (
        "secondary-provider",
        {"federation": {"primary": PRIMARY}, "provider": {}},
        ["spec.provider must be absent"],
    ),
    ("secondary-root", {"federation": {"primary": PRIMARY}, "root": {}}, ["spec.root must be absent"]),
    (
        "secondary-rotation",
        {"federation": {"primary": PRIMARY}, "rotation": {}},
        ["spec.rotation must be absent"],
    ),
    ("no-object", {"leaf": "72h"}, ["spec.leaf"]),
]


@pytest.mark.parametrize(("spec", "named"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_bad_wishes_are_refused_naming_field_value_and_bound(spec: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(InvalidError) as refused:
        read(spec)
    assert [part for part in named if part not in refused.value.message] == []


@pytest.mark.parametrize(
    "spec",
    [
        {"leaf": {"ttl": "1h"}, "intermediate": {"ttl": "3h"}},
        {"leaf": {"ttl": "1h", "maxTTL": "8760h"}, "intermediate": {"ttl": "26280h"}},
        {"intermediate": {"ttl": "87600h"}},
        {"limits": {"csrMaxPerSecond": 0.5, "csrMaxConcurrent": 4}},
        {"trustDomain": "a" * 255},
        {"trustDomain": "10.0.0.1"},
        {"identity": {"pathTemplate": "/ns/{namespace}/dc/{clusterName}/svc/{serviceAccount}"}},
        {"identity": {"pathTemplate": "/dc-{clusterName}/{serviceAccount}/{namespace}"}},
        {"identity": {"dnsNames": ["*.{namespace}.svc"], "ipAddresses": ["10.0.0.0/8", "fd00::/8"]}},
        {"federation": {"primary": PRIMARY}, "intermediate": {"ttl": "200000h"}},
        {"federation": {}, "root": {}},
        *({"privateKey": {"algorithm": "ECDSA", "size": size}} for size in (224, 256, 384, 521)),
        *({"privateKey": {"algorithm": "RSA", "size": size}} for size in (2048, 3072, 4096)),
        {"privateKey": {"algorithm": "Ed25519"}},
    ],
)
def test_good_wishes_are_read(spec: dict[str, Any]) -> None:
    assert read(spec).spec.as_written().keys() == spec.keys()


def test_fields_of_a_newer_version_are_ignored_when_read_and_refused_when_built() -> None:
    assert read({"leaf": {"ttl": "2h", "newer": 1}, "newer": {}}).spec.leaf.ttl == timedelta(hours=2)
    with pytest.raises(ValidationError):
        Leaf.model_validate({"newer": 1})


@pytest.mark.parametrize("data", [None, "x", [], {}, {"spec": None}, {"spec": []}])
def test_what_is_no_object_is_refused_with_our_error(data: object) -> None:
    with pytest.raises(InvalidError):
        CAConfiguration.from_object(data)


def test_rsa_without_a_size_gets_3072_bits_and_ed25519_none() -> None:
    assert PrivateKey(algorithm=KeyAlgorithm.RSA).effective_size == 3072
    assert PrivateKey(algorithm=KeyAlgorithm.ED25519).effective_size is None


def test_specs_are_frozen() -> None:
    spec = CAConfigurationSpec(provider=Provider())
    with pytest.raises(ValidationError):
        setattr(spec, "trust_domain", "x")  # noqa: B010  mypy knows that it cannot be assigned


def test_a_secondary_knows_that_it_is_one() -> None:
    assert read({"federation": {"primary": PRIMARY}}).spec.is_secondary
    assert not read({"federation": {}}).spec.is_secondary
