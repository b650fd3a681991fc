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
from tests.fakes.api_rows import CONFIGURATION_ACCEPTED, CONFIGURATION_REFUSED, SECONDARY


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


@pytest.mark.parametrize(
    ("spec", "named"),
    [row[1:] for row in CONFIGURATION_REFUSED],
    ids=[row[0] for row in CONFIGURATION_REFUSED],
)
def test_bad_wishes_are_refused_naming_field_value_and_bound(spec: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(InvalidError) as refused:
        read(spec)
    assert [part for part in named if part not in refused.value.message] == []


@pytest.mark.parametrize(
    "spec", [row[1] for row in CONFIGURATION_ACCEPTED], ids=[row[0] for row in CONFIGURATION_ACCEPTED]
)
def test_good_wishes_are_read(spec: dict[str, Any]) -> None:
    assert read(spec).spec.as_written().keys() == spec.keys()


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"leaf": {"ttl": 3600}}, ["spec.leaf.ttl", "3600", "72h"]),
        ({"federation": {"primary": {}}}, ["spec.federation.primary.kubeconfigSecretName is required"]),
        ({"leaf": "72h"}, ["spec.leaf"]),
    ],
)
def test_values_of_another_type_are_refused(spec: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(InvalidError) as refused:
        read(spec)
    assert [part for part in named if part not in refused.value.message] == []


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
    assert read(SECONDARY).spec.is_secondary
    assert not read({"federation": {}}).spec.is_secondary
