"""The CRDs are structural, complete and bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from meshca.api.crd import all_definitions, custom_resource_definition
from meshca.api.rules import RULES_BY_KIND
from meshca.api.v1alpha1 import (
    KINDS,
    CAConfiguration,
    CAConfigurationSpec,
    IntermediateCertificateRequest,
    LeafCertificateRequest,
    Object,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshca.api.v1alpha1.base import Model

JSON = dict[str, Any]


def whole(kind: type[Object]) -> JSON:
    schema: JSON = version(kind)["schema"]["openAPIV3Schema"]
    return schema


def version(kind: type[Object]) -> JSON:
    (found,) = custom_resource_definition(kind)["spec"]["versions"]
    assert isinstance(found, dict)
    return found


def nodes(schema: JSON, path: str = "") -> Iterator[tuple[str, JSON]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], f"{path}[]")


def fields(model: type[Model], path: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{path}.{field.alias or name}"


@pytest.mark.parametrize("kind", KINDS)
def test_schemas_are_structural(kind: type[Object]) -> None:
    for path, node in nodes(whole(kind)):
        assert "type" in node, path
        assert not {"$ref", "anyOf", "allOf", "oneOf", "title", "$defs"} & node.keys(), path


@pytest.mark.parametrize("kind", KINDS)
def test_every_string_and_list_of_spec_and_status_is_bounded(kind: type[Object]) -> None:
    for part in ("spec", "status"):
        for path, node in nodes(whole(kind)["properties"][part], part):
            if node["type"] == "array":
                assert "maxItems" in node, path
            elif node["type"] == "string" and not {"enum", "format"} & node.keys():
                assert "maxLength" in node, path
            elif "additionalProperties" in node:
                assert "maxProperties" in node, path


@pytest.mark.parametrize("kind", KINDS)
def test_spec_is_required_and_status_is_a_subresource(kind: type[Object]) -> None:
    assert whole(kind)["required"] == ["spec"]
    assert version(kind)["subresources"] == {"status": {}}


@pytest.mark.parametrize("kind", KINDS)
def test_conditions_are_a_list_map_by_type_with_observed_generation(kind: type[Object]) -> None:
    conditions = whole(kind)["properties"]["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert "observedGeneration" in conditions["items"]["properties"]


@pytest.mark.parametrize("kind", KINDS)
def test_names_scope_short_name_and_category(kind: type[Object]) -> None:
    spec = custom_resource_definition(kind)["spec"]
    assert spec["scope"] == ("Namespaced" if kind.resource.namespaced else "Cluster")
    assert (spec["names"]["kind"], spec["names"]["plural"]) == (kind.resource.kind, kind.resource.plural)
    assert spec["names"]["categories"] == ["meshca"]


def test_short_names_are_as_documented() -> None:
    found = {name.split(".")[0]: d["spec"]["names"]["shortNames"] for name, d in all_definitions().items()}
    assert found == {
        "caconfigurations": ["cac"],
        "caroots": ["caroot"],
        "leafcertificaterequests": ["lcr"],
        "intermediatecertificaterequests": ["icr"],
        "federatedclusters": ["fedc"],
    }


@pytest.mark.parametrize("kind", KINDS)
def test_no_column_shows_a_future_time_as_a_date(kind: type[Object]) -> None:
    dates = [c["jsonPath"] for c in version(kind)["additionalPrinterColumns"] if c["type"] == "date"]
    assert set(dates) <= {".metadata.creationTimestamp", ".status.lastSeen"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_column_shows_a_field_that_exists(kind: type[Object]) -> None:
    known = {path for path, _ in nodes(whole(kind))} | {".metadata.creationTimestamp"}
    for column in version(kind)["additionalPrinterColumns"]:
        path = column["jsonPath"]
        assert path in known or path.startswith(".status.conditions[?"), path


def test_only_leaves_are_selectable_by_their_configuration() -> None:
    assert version(LeafCertificateRequest)["selectableFields"] == [{"jsonPath": ".spec.caConfigurationName"}]
    assert "selectableFields" not in version(CAConfiguration)


def test_schema_defaults_are_those_of_an_empty_spec_and_a_secondary_gets_no_more() -> None:
    spec = whole(CAConfiguration)["properties"]["spec"]["properties"]
    defaults = {name: field["default"] for name, field in spec.items() if "default" in field}
    assert defaults == {
        "clusterName": "default",
        "privateKey": {"algorithm": "ECDSA"},
        "intermediate": {"ttl": "8760h"},
        "leaf": {"ttl": "72h"},
        "identity": {"pathTemplate": "/ns/{namespace}/sa/{serviceAccount}"},
        "limits": {"csrMaxPerSecond": 0, "csrMaxConcurrent": 0},
        "trustBundle": {"configMapName": "meshca-trust-bundle", "clusterTrustBundle": True},
    }
    assert CAConfigurationSpec.read(defaults) == CAConfigurationSpec.read({})


@pytest.mark.parametrize("block", ["provider", "root", "rotation"])
def test_what_a_secondary_must_leave_absent_has_no_default_at_any_depth(block: str) -> None:
    schema = whole(CAConfiguration)["properties"]["spec"]["properties"][block]
    assert [path for path, node in nodes(schema) if "default" in node] == []


@pytest.mark.parametrize("kind", [LeafCertificateRequest, IntermediateCertificateRequest])
def test_every_field_of_an_immutable_spec_has_its_rule(kind: type[Object]) -> None:
    spec = whole(kind)["properties"]["spec"]
    ruled = {r["fieldPath"] for r in spec["x-kubernetes-validations"] if "immutable" in r["message"]}
    assert ruled == {f".{name}" for name in spec["properties"]}


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_has_a_message(kind: type[Object]) -> None:
    for path, node in nodes(whole(kind)):
        for rule in node.get("x-kubernetes-validations", ()):
            assert rule["message"], path
            assert "\n" not in rule["rule"], path


def test_every_kind_has_its_rules() -> None:
    assert set(RULES_BY_KIND) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_that_nobody_has_seen_says_so(kind: type[Object]) -> None:
    assert whole(kind)["properties"]["status"]["default"] == {"observedGeneration": 0}


@pytest.mark.parametrize("kind", [LeafCertificateRequest, IntermediateCertificateRequest])
def test_no_rule_stands_where_an_error_would_repeat_a_request(kind: type[Object]) -> None:
    request = whole(kind)["properties"]["spec"]["properties"]["request"]
    assert "x-kubernetes-validations" not in request
